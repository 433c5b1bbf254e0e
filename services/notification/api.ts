/** What other services may know about `notification`: the shapes that its actions take and answer. */

export interface ShopEvent {
  /** The same for every delivery of the event. */
  id: string;
  /** Such as `order.confirmed`. */
  type: string;
  version: number;
  /** The id of what it is about. */
  key: string;
  payload: Record<string, unknown>;
  /** RFC 3339. */
  time: string;
}

/** `notification.receive`. */
export interface ReceiveParams {
  events: ShopEvent[];
}

/** How many of the events were new, and how many of those were not understood. */
export interface ReceiveAnswer {
  stored: number;
  ignored: number;
}

/** GET /notifications. */
export interface ListParams {
  limit: number;
  cursor?: string;
}

export interface NotificationView {
  /** The event's id. */
  id: string;
  type: string;
  subject: string;
  text: string;
  status: "stored";
  createdAt: string;
}

export interface ListAnswer {
  items: NotificationView[];
  nextCursor: string | null;
}
