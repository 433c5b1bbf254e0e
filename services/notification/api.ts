/** What other services may know about `notification`: the shapes that its actions take and answer. */

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
