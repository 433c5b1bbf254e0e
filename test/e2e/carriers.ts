/**
 * One action over REST, gRPC and the broker: how its params become a request of each, and what of an answer must be the
 * same. What differs by nature is masked here and nowhere else: ids, times, tokens, and names that must be new each time.
 */
import type { ActionSchema } from "moleculer";
import { failureOf } from "../../lib/failure.ts";
import type { TestShop } from "../harness/shop.ts";
import type { Client } from "../support/client.ts";
import type { GrpcClient } from "../support/grpc.ts";

export interface Caller {
  token?: string;
  user: { id: string; roles: string[] } | null;
}

export interface Case {
  action: string;
  what: string;
  as: Caller;
  /** `fresh` is another word for each carrier. */
  params: (fresh: string) => object;
  /** The gRPC message, where it is not the params. */
  request?: (params: never) => object;
  /** The action's result of the gRPC answer, where that is not the same with other scalars. */
  result?: (message: never) => unknown;
}

/** A result, or a failure with its code and the place and code of each fault. */
export type Answer = { result: unknown } | { code: string; faults: string[] };

export interface Ways {
  shop: TestShop;
  rest: Client;
  grpc: GrpcClient;
}

interface Problem {
  code: string;
  errors?: { pointer?: string; parameter?: string; code: string }[];
}

const failed = ({ code, errors = [] }: Problem): Answer => ({
  // An id in a path that is none cannot be parsed (400); elsewhere it can, and is wrong (422).
  code:
    code === "malformed_request" && errors.every((fault) => fault.code === "uuid")
      ? "validation_failed"
      : code,
  faults: errors.map((fault) => `${fault.parameter ?? fault.pointer?.slice(1)}: ${fault.code}`).sort(),
});

export async function overBroker({ shop }: Ways, { action, as, params }: Case): Promise<Answer> {
  const given = params("broker");
  try {
    const meta = { user: as.user, requestId: "r", clientAddress: "127.0.0.1" };
    return { result: masked(plain(await shop.broker.call(action, given, { meta })), "broker") };
  } catch (err) {
    const { document } = failureOf(err, { requestId: "r", instance: "/", params: given });
    return failed(document as unknown as Problem);
  }
}

export async function overRest({ rest }: Ways, schema: ActionSchema, { as, params }: Case): Promise<Answer> {
  const left: Record<string, unknown> = { ...params("rest") };
  const [method = "", template = ""] = String(schema.rest).split(" ");
  const take = (name: string): string => {
    const value = String(left[name]);
    delete left[name];
    return encodeURIComponent(value);
  };
  let path = template.replaceAll(/:(\w+)/g, (_, name: string) => take(name));
  const query = (schema.query ?? []).filter((name) => name in left).map((name) => `${name}=${take(name)}`);
  if (query.length > 0) path += `?${query.join("&")}`;
  const hasBody = method === "POST" || method === "PUT";
  const reply = await rest.send(method, path, {
    ...(as.token ? { token: as.token } : {}),
    ...(hasBody ? { body: left } : {}),
  });
  if (reply.status >= 400) return failed(reply.body);
  return { result: masked(reply.text === "" ? null : reply.body, "rest") };
}

export async function overGrpc(
  { grpc }: Ways,
  schema: ActionSchema,
  { action, as, params, request = (same) => same, result = (same) => same }: Case,
): Promise<Answer> {
  const message = request(params("grpc") as never);
  const isParticipant = schema.grpc?.startsWith("shop.v1.Participant/");
  const participant = isParticipant ? { participant: action.split(".")[0] } : {};
  const reply = await grpc.call(schema.grpc as string, { ...participant, ...message }, { token: as.token });
  if (reply.status !== "OK") return failed(reply.problem);
  return { result: masked(plain(result(scalars(reply.message) as never)), "grpc") };
}

/** As JSON carries it; nothing is null. */
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value ?? null));

/** Numbers that int64 carries as text, times, and the words of enums. */
function scalars(value: unknown, key = ""): unknown {
  if (Array.isArray(value)) return value.map((item) => scalars(item, key));
  if (typeof value === "object" && value !== null) {
    const { seconds, nanos } = value as { seconds?: string; nanos?: number };
    if (seconds !== undefined) return new Date(Number(seconds) * 1_000 + (nanos ?? 0) / 1e6).toISOString();
    return Object.fromEntries(
      Object.entries(value)
        .filter(([name]) => !name.startsWith("_"))
        .map(([name, member]) => [name, scalars(member, name)]),
    );
  }
  if (/^(amount|stock|available)$/.test(key)) return Number(value);
  const word = /^(?:ORDER_STATUS|PAYMENT_STATUS|VOTE_KIND|ACKNOWLEDGEMENT|OUTCOME)_([A-Z]+)$/.exec(
    String(value),
  );
  return word ? word[1]?.toLowerCase() : value;
}

const TOKEN = /^[\w-]{30,}(\.[\w-]+\.[\w-]+)?$/;

function masked(value: unknown, fresh: string): unknown {
  if (Array.isArray(value)) return value.map((item) => masked(item, fresh));
  if (typeof value === "object" && value !== null)
    return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, masked(member, fresh)]));
  if (typeof value !== "string") return value;
  if (TOKEN.test(value)) return "a token";
  return value
    .replace(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/, "a time")
    .replaceAll(/[0-9a-f]{8}-[0-9a-f-]{27}/g, "an id")
    .replaceAll(fresh, "fresh");
}
