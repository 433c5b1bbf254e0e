/**
 * The framework's validator, which compiles the rules of an action when it is first called and not when it is created: a
 * node hosts dozens of actions, and to compile them all would be felt in what its start costs.
 */
import { Validators } from "moleculer";

type Check = ReturnType<Validators.Fastest["compile"]>;

export class LazyValidator extends Validators.Fastest {
  override compile(rules: Record<string, unknown>): Check {
    let compiled: Check | undefined;
    const check: Check = (...asked: Parameters<Check>) => {
      compiled ??= super.compile(rules);
      // Looked at after the call.
      if (compiled.async) check.async = true;
      return compiled(...asked);
    };
    return check;
  }
}
