/**
 * Which secrets a deployment from this repository needs, and in which files they lie: `.env` for docker compose,
 * `*.secrets.env` for kustomize. Git ignores all of them. Production takes its secrets from a vault instead.
 */
import { randomBytes } from "node:crypto";

/** No character that a URL, a shell or an .env file would read as anything but itself. */
const password = (): string => randomBytes(24).toString("hex");

/** The files with their variables; `known` holds values that exist already and are kept. */
export function secretFiles(
  known: Readonly<Record<string, string>> = {},
): Map<string, Record<string, string>> {
  const postgres = known.POSTGRES_PASSWORD ?? password();
  const admin = known.ADMIN_PASSWORD ?? password();
  return new Map<string, Record<string, string>>([
    [
      ".env",
      {
        POSTGRES_PASSWORD: postgres,
        ADMIN_PASSWORD: admin,
        GRAFANA_PASSWORD: known.GRAFANA_PASSWORD ?? password(),
        // Not a secret, but the one other thing that docker compose must be told: all, or light.
        COMPOSE_PROFILES: known.COMPOSE_PROFILES ?? "full",
      },
    ],
    ["k8s/overlays/local/postgres.secrets.env", { POSTGRES_PASSWORD: postgres }],
    [
      "k8s/overlays/local/shop.secrets.env",
      { DATABASE_URL: `postgres://postgres:${postgres}@postgres:5432`, ADMIN_PASSWORD: admin },
    ],
  ]);
}

export const toText = (variables: Readonly<Record<string, string>>): string =>
  Object.entries(variables)
    .map(([name, value]) => `${name}=${value}\n`)
    .join("");

/** The files below k8s/ with secrets that were made up for the moment. */
export const exampleSecrets = (): [file: string, text: string][] =>
  [...secretFiles()]
    .filter(([file]) => file.startsWith("k8s/"))
    .map(([file, variables]) => [file, toText(variables)]);
