/**
 * The framework's validator, but for two things. It compiles the rules of an action when it is first called and not when
 * it is created: a node hosts dozens of actions, and to compile them all would be felt in what its start costs. And the
 * lengths of strings are counted in characters (code points), as JSON Schema and PostgreSQL count them.
 */
import type { CompilationFunction, PluginFn } from "fastest-validator";
import { Validators } from "moleculer";

type Options = NonNullable<ConstructorParameters<typeof Validators.Fastest>[0]>;
type Check = ReturnType<Validators.Fastest["compile"]>;

export class LazyValidator extends Validators.Fastest {
  constructor(options: Options) {
    super({ ...options, plugins: [countingCharacters] });
  }

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

/** The rule writes its check as source, in which it takes the length once: in UTF-16 units. */
const countingCharacters: PluginFn = (validator) => {
  const inUnits = validator.rules.string as unknown as CompilationFunction;
  validator.add("string", (...rule) => {
    const { source, ...rest } = inUnits.apply(validator, rule);
    return { ...rest, source: source.replace("len = value.length", "len = [...value].length") };
  });
};
