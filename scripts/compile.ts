/**
 * Loads the shop as a node does, so that Node keeps what it makes of it and no start need make it again: half of a start's
 * CPU. The image's build runs it. Where it is kept: compile-cache.ts.
 */
import { keepCompiled } from "./compile-cache.ts";

keepCompiled();
const { createShop } = await import("./shop.ts");
await createShop();
// Whatever a service has opened when it was made.
process.exit();
