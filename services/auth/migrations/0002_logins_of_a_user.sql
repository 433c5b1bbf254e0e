-- A changed password ends all logins of its account.
create index refresh_families_user on refresh_families (user_id) where revoked_at is null;
