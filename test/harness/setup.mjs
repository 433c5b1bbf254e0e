// Jest cannot load its global modules from TypeScript; Node can.
export { startServer as default } from "./server.ts";
