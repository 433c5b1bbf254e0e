import { expect, it } from "@jest/globals";
import { Assembly, split } from "../../mixins/nats.parts.ts";

const message = (letter: string): Buffer => Buffer.from(letter.repeat(1_400_000));
const arrive = (
  assembly: Assembly,
  { data, headers }: ReturnType<typeof split>[number],
): Buffer | undefined => assembly.add(headers ? { data, headers } : { data });

it("leaves a small message alone", () => {
  const parts = split(Buffer.from("small"));
  expect(parts).toEqual([{ data: Buffer.from("small") }]);
  expect(arrive(new Assembly(), parts[0] as never)?.toString()).toBe("small");
});

it("puts messages together whose parts come mixed", () => {
  const [a, b] = [split(message("a")), split(message("b"))];
  expect(a.length).toBe(3);
  const assembly = new Assembly();
  const mixed = a.flatMap((part, i) => [part, b[i] as never]);
  const whole = mixed.map((part) => arrive(assembly, part)).filter((each) => each !== undefined);
  expect(whole.map((each) => each.equals(message("a")) || each.equals(message("b")))).toEqual([true, true]);
});

it("never makes a message of parts of which one is missing", () => {
  const parts = split(message("a"));
  for (const lost of parts) {
    const assembly = new Assembly();
    for (const part of parts.filter((each) => each !== lost)) expect(arrive(assembly, part)).toBeUndefined();
  }
});
