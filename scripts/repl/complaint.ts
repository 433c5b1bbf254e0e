/** An error as the console says it: what is wrong and what to do, in a line or a few, never a stack. */
import { Mistake } from "./transactions.ts";

interface AnyError {
  type?: string;
  message?: string;
  data?: { action?: string } | { message?: string }[] | null;
}

const TOO_LATE = "no answer in time; look whether it took effect before you repeat it";

const FRAMEWORK: Record<string, (service: string) => string> = {
  SERVICE_NOT_FOUND: (service) =>
    `no node hosts ${service}; is the shop running, with the same TRANSPORTER and NAMESPACE?`,
  SERVICE_NOT_AVAILABLE: (service) => `${service} cannot be reached at the moment`,
  REQUEST_TIMEOUT: () => TOO_LATE,
  REQUEST_SKIPPED: () => TOO_LATE,
};

export function complaint(err: unknown): string {
  const { type = "", message = String(err), data } = err as AnyError;
  if (err instanceof Mistake) return message;
  if (type === "VALIDATION_ERROR" && Array.isArray(data))
    return data.map((fault) => (fault.message ?? "not valid").replace(/!$/, "")).join("; ");
  const action = Array.isArray(data) ? undefined : data?.action;
  const said = FRAMEWORK[type]?.(action?.split(".")[0] ?? "it");
  if (said) return said;
  return type ? `${message} (${type})` : message;
}
