/** How notifications look in the OpenAPI document (JSON Schema 2020-12). */
const NOTIFICATION_SCHEMAS = {
  Notification: {
    type: "object",
    required: ["id", "type", "subject", "text", "status", "createdAt"],
    properties: {
      id: { type: "string", format: "uuid" },
      type: { type: "string", description: "What happened, such as `order.confirmed`." },
      subject: { type: "string" },
      text: { type: "string" },
      status: {
        enum: ["stored", "pending", "sent", "failed"],
        description:
          "Of the mail: waits to be sent, taken by the mail server, cannot be sent; `stored` where none was to be sent.",
      },
      createdAt: { type: "string", format: "date-time" },
    },
  },
  NotificationPage: {
    type: "object",
    required: ["items", "nextCursor"],
    properties: {
      items: { type: "array", items: { $ref: "#/components/schemas/Notification" } },
      nextCursor: { type: ["string", "null"] },
    },
  },
};

export const LIST_OPENAPI = {
  summary: "Your own notifications, newest first",
  tags: ["notifications"],
  schemas: NOTIFICATION_SCHEMAS,
  responses: {
    200: {
      description: "A page of notifications.",
      schema: { $ref: "#/components/schemas/NotificationPage" },
    },
  },
};
