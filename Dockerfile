# One image for every service: SERVICES picks what a container hosts. It needs a TRANSPORTER and a DATABASE_URL, writes
# nothing outside /tmp (run it with a read-only root file system) and stops within 40 s of SIGTERM.
#   docker build --tag concord:0.1.0 .

# The exact Node that package.json's own copy stands for; override it with a digest where builds must repeat to the bit.
ARG NODE_IMAGE=node:24-bookworm-slim

FROM ${NODE_IMAGE} AS dependencies
WORKDIR /shop
COPY package.json package-lock.json ./
# Without optional ones: the embedded PostgreSQL and npm's own Node, which a laptop needs and a container does not.
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund

FROM ${NODE_IMAGE}
# No port of the metrics by default elsewhere; every node of a deployment is probed and scraped there.
ENV NODE_ENV=production PORT=3000 METRICS_PORT=3030 DATA_DIR=/tmp/shop
WORKDIR /shop
COPY --from=dependencies /shop/node_modules ./node_modules
# .dockerignore lets through what runs, and nothing else.
COPY . .
# What Node makes of all this when it loads it. Node keeps it for each user apart, and it shall belong to root like the
# rest: what is run from there must not be written by what runs.
ENV NODE_COMPILE_CACHE=/shop/node_modules/.cache/compiled
RUN install -d -o 1000 $NODE_COMPILE_CACHE \
  && setpriv --reuid=1000 --regid=1000 --clear-groups node scripts/compile.ts \
  && chown -R root:root $NODE_COMPILE_CACHE && chmod -R a=rX,u+w $NODE_COMPILE_CACHE
# By number, so that Kubernetes can see that it is not root. The files belong to root: the shop cannot change them.
USER 1000:1000
EXPOSE 3000 3030 50051
# Often while it starts, because others wait for it; seldom afterwards, because each check is a process.
HEALTHCHECK --interval=15s --timeout=3s --start-period=60s --start-interval=2s --retries=3 CMD ["node", "scripts/health.ts"]
# Node itself is process 1: it hears SIGTERM, drains and exits. npm or a shell in between would swallow it.
CMD ["node", "scripts/start.ts"]
