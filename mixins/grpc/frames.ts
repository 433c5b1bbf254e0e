/** The frames of proto/shop/v1/peers.proto as they are read, and the JSON inside them. */

export interface PeerCall {
  seq: number;
  call?: {
    action: string;
    params: Buffer;
    meta: Buffer;
    id: string;
    requestId: string;
    parentId: string;
    caller: string;
    level: number;
    timeoutMs: number;
    nodeId: string;
    tracing: boolean;
  };
  cancel?: number;
}

export interface PeerAnswer {
  seq: number;
  result?: Buffer;
  error?: Buffer;
  /** This call was not begun. */
  refused?: boolean;
  meta?: Buffer;
}

/** Nothing is no bytes. */
export const toJson = (value: unknown): Buffer => Buffer.from(JSON.stringify(value) ?? "");

export const fromJson = (bytes: Buffer | undefined): unknown =>
  bytes && bytes.length > 0 ? JSON.parse(bytes.toString()) : undefined;
