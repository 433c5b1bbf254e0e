-- Accounts. email is shown as its owner wrote it; email_key is its lower case and what makes it unique.
create table users (
  id uuid primary key,
  email text not null,
  email_key text not null unique,
  name text not null,
  password_hash text not null,
  roles text[] not null,
  created_at timestamptz not null default now()
);

-- Secrets that belong to this installation and are made at its first start, so that they need no configuration.
-- `pepper` keys the HMAC that stands before bcrypt: losing it makes every password wrong, so it lives with the hashes.
create table secrets (
  name text primary key,
  value bytea not null
);
