/**
 * node:http for whoever runs in a node of the shop. An import of it would name all that it exports, and to name
 * `WebSocket` Node loads undici, at every start and for nothing.
 */
export const http = process.getBuiltinModule("node:http");
