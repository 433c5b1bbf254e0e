-- Keys that sign access tokens. Exactly one signs: the one that is not retired. A retired key keeps its public half,
-- because tokens that it signed are still in hands, and loses its private one.
create table signing_keys (
  kid text primary key,
  public_jwk jsonb not null,
  private_jwk jsonb,
  created_at timestamptz not null default now(),
  retired_at timestamptz,
  check ((retired_at is null) = (private_jwk is not null))
);
create unique index signing_keys_one_signs on signing_keys ((true)) where retired_at is null;

-- One row per login. Revoked as a whole, so that a thief and the holder lose the same thing. Whoever rotates or
-- revokes locks this row first: a rotation cannot slip a new token past a revocation.
create table refresh_families (
  id uuid primary key,
  user_id uuid not null,
  created_at timestamptz not null default now(),
  revoked_at timestamptz
);

-- Refresh tokens, known by their SHA-256 alone. A rotated token stays until it would have expired: its return is how
-- theft is noticed.
create table refresh_tokens (
  hash bytea primary key,
  family_id uuid not null references refresh_families on delete cascade,
  issued_at timestamptz not null default now(),
  expires_at timestamptz not null,
  rotated_at timestamptz
);
create index refresh_tokens_family on refresh_tokens (family_id);
create index refresh_tokens_expiry on refresh_tokens (expires_at);
