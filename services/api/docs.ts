/**
 * The reference pages for people: Swagger UI over /openapi.json and the list of error codes that problem documents
 * link to. Everything comes from this server (node_modules/swagger-ui-dist), so it works without the internet.
 */
import { createRequire } from "node:module";
import path from "node:path";
import serveStatic from "serve-static";
import { ERRORS } from "../../lib/errors.ts";
import type { AliasHandler } from "./router.ts";

const assets = path.dirname(createRequire(import.meta.url).resolve("swagger-ui-dist/package.json"));
const FILES = new Set(["swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"]);
const serveAsset = serveStatic(assets, { index: false, cacheControl: false, acceptRanges: false });

/** Swagger UI sets inline styles and data: images; it needs no inline script. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
  "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const page = (title: string, head: string, body: string): string =>
  `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${title}</title>` +
  `<meta name="viewport" content="width=device-width, initial-scale=1">${head}</head><body>${body}</body></html>\n`;

const reference = page(
  "Concord API",
  '<link rel="icon" href="/docs/favicon-32x32.png"><link rel="stylesheet" href="/docs/swagger-ui.css">',
  '<div id="swagger-ui"></div><script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/init.js"></script>',
);

const init =
  'SwaggerUIBundle({ url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null });\n';

const errors = page(
  "Concord errors",
  "",
  `<h1>Errors</h1><p>The <code>code</code> of a problem document is one of these.</p><dl>${Object.entries(
    ERRORS,
  )
    .map(([code, row]) => `<dt id="${code}"><code>${code}</code> (${row.status})</dt><dd>${row.title}</dd>`)
    .join("")}</dl>`,
);

const text =
  (type: string, content: string): AliasHandler =>
  (_req, res) => {
    res.setHeader("content-security-policy", POLICY);
    res.setHeader("content-type", `${type}; charset=utf-8`);
    res.setHeader("content-length", Buffer.byteLength(content));
    res.end(content);
  };

const asset: AliasHandler = (req, res, next) => {
  const file = path.posix.basename(req.url ?? "");
  if (!FILES.has(file)) return next();
  res.setHeader("cache-control", "public, max-age=3600");
  // They are for whoever fetches the rest of a file (RFC 9110, 13.1.1), and no parts are served here.
  delete req.headers["if-match"];
  delete req.headers["if-unmodified-since"];
  req.url = `/${file}`;
  serveAsset(req, res, next);
};

/** Aliases of the gateway's route. */
export const docsAliases: Record<string, AliasHandler> = {
  "GET /docs": text("text/html", reference),
  "GET /docs/errors": text("text/html", errors),
  "GET /docs/init.js": text("text/javascript", init),
  "GET /docs/:file": asset,
};
