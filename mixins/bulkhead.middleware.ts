/**
 * Keeps one action from taking all of a node: so many run, a few wait, the rest is refused at once with 503. In place
 * of the framework's, which runs what its caller has given up long ago and refuses with 429, as if the client were to
 * blame. Only where an action asks for it; never on the checkout path, where the mailbox is the limit.
 */
import type { Context, Middleware, ServiceBroker } from "moleculer";
import { ShopError } from "../lib/errors.ts";
import { remainingMs } from "./deadline.middleware.ts";
import type { Wrap } from "./middleware.ts";

interface Waiting {
  ctx: Context;
  start(): void;
  drop(): void;
}

export function bulkheadMiddleware(broker: ServiceBroker): Middleware {
  const localAction: Wrap = (handler, action) => {
    const { enabled, concurrency, maxQueueSize } = {
      concurrency: 10,
      maxQueueSize: 100,
      ...broker.options.bulkhead,
      ...action.bulkhead,
    };
    if (!enabled) return handler;
    let running = 0;
    let waiting: Waiting[] = [];

    const work = async (ctx: Context): Promise<unknown> => {
      running++;
      try {
        return await handler(ctx);
      } finally {
        running--;
        next();
      }
    };
    const next = (): void => {
      for (let first = waiting.shift(); first; first = waiting.shift()) {
        if (remainingMs(first.ctx) > 0) {
          first.start();
          return;
        }
        first.drop();
      }
    };
    const dropExpired = (): void => {
      const expired = waiting.filter(({ ctx }) => remainingMs(ctx) <= 0);
      if (expired.length > 0) waiting = waiting.filter((one) => !expired.includes(one));
      for (const { drop } of expired) drop();
    };

    return (ctx) => {
      if (running < concurrency) return work(ctx);
      if (waiting.length >= maxQueueSize) dropExpired();
      if (waiting.length >= maxQueueSize)
        return Promise.reject(
          new ShopError("overloaded", `${action.name} runs ${running} times and ${waiting.length} wait.`, {
            retryAfter: 1,
          }),
        );
      return new Promise((resolve, reject) => {
        waiting.push({
          ctx,
          start: () => work(ctx).then(resolve, reject),
          drop: () => reject(new ShopError("deadline_exceeded", `${action.name} was not begun in time.`)),
        });
      });
    };
  };
  return { name: "Bulkhead", localAction } as Middleware;
}
