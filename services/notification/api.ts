/** What other services may know about `notification`: the shapes that its actions take and answer. */

/** GET /notifications. */
export interface ListParams {
  limit: number;
  cursor?: string;
}

/**
 * `pending`: the mail waits to be sent; `sent`: the mail server has taken it; `failed`: it cannot be sent; `stored`: it
 * is from before mail was sent.
 */
export type NotificationStatus = "stored" | "pending" | "sent" | "failed";

export interface NotificationView {
  /** The event's id. */
  id: string;
  type: string;
  subject: string;
  text: string;
  status: NotificationStatus;
  createdAt: string;
}

export interface ListAnswer {
  items: NotificationView[];
  nextCursor: string | null;
}

/** `notification.mailState`: how the mail stands, 10,000 meaning that or more. */
export interface MailState {
  pending: number;
  /** For how long the oldest of these has been; null where there is none. */
  oldestMs: number | null;
  failed: number;
  /** Mails that were sent again because it was not known whether they had arrived. */
  repeats: number;
}
