/** What the gateway hands to every action it calls, and what an action may answer besides its result. */

export interface CallerMeta {
  /** Who calls; null where the action is open to anyone. */
  user: { id: string; roles: string[] } | null;
  requestId: string;
  /** The peer, or the client behind the proxies we trust. */
  clientAddress: string;
  /** 1 to 255 visible ASCII characters. */
  idempotencyKey?: string;
  /** The precondition headers as sent. */
  ifMatch?: string;
  ifNoneMatch?: string;
}

export interface AnswerMeta {
  /** Instead of the action's `successStatus`; 204 and 304 carry no body. */
  $statusCode?: number;
  /** The Location header. */
  $location?: string;
  $responseHeaders?: Record<string, string>;
}
