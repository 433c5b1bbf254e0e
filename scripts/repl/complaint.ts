/** An error as the console says it: what is wrong and what to do, in a line or a few, never a stack. */
import { Mistake } from "./transactions.ts";

interface AnyError {
  type?: string;
  message?: string;
  data?: { errors?: { pointer?: string; parameter?: string; message?: string }[] } | { field?: string }[];
}

const FRAMEWORK: Record<string, string> = {
  SERVICE_NOT_FOUND:
    "no node hosts the transaction manager; is the shop running, with the same TRANSPORTER and NAMESPACE?",
  SERVICE_NOT_AVAILABLE: "the transaction manager cannot be reached at the moment",
  REQUEST_TIMEOUT: "no answer in time; look whether it took effect before you repeat it",
  REQUEST_SKIPPED: "no answer in time; look whether it took effect before you repeat it",
};

export function complaint(err: unknown): string {
  const { type = "", message = String(err), data } = err as AnyError;
  if (err instanceof Mistake) return message;
  if (type === "VALIDATION_ERROR" && Array.isArray(data))
    return data
      .map((fault) => `${(fault as { message?: string }).message ?? "not valid"}`.replace(/!$/, ""))
      .join("; ");
  if (FRAMEWORK[type]) return FRAMEWORK[type];
  return type ? `${message} (${type})` : message;
}
