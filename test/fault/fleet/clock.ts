/** The wall clock of a process of the fleet, as wrong as a test wants it. What is monotonic stays right. */
const RealDate = Date;
let offsetMs = 0;

export function setClock(ms: number): void {
  offsetMs = ms;
}

export function installClock(): void {
  globalThis.Date = class extends RealDate {
    constructor(...args: unknown[]) {
      if (args.length === 0) super(RealDate.now() + offsetMs);
      else super(...(args as [number]));
    }
    static override now(): number {
      return RealDate.now() + offsetMs;
    }
  } as DateConstructor;
}
