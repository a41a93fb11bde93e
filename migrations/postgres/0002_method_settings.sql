-- What a method may ask beyond its rules, ends of keys, and presented tokens that are good once.
-- Every new column has a default: what the version before writes says nothing about them.

-- Null: as long as token_ttl_seconds.
ALTER TABLE auth_methods ADD COLUMN token_max_ttl_seconds BIGINT
    CONSTRAINT auth_methods_token_max_ttl CHECK (token_max_ttl_seconds BETWEEN 1 AND 604800);
ALTER TABLE auth_methods ADD COLUMN force_sub_claims BOOLEAN NOT NULL DEFAULT FALSE;
-- JSON list of sub-claims.
ALTER TABLE auth_methods ADD COLUMN audit_logs_claims TEXT NOT NULL DEFAULT '[]';
ALTER TABLE auth_methods ADD COLUMN delete_protection BOOLEAN NOT NULL DEFAULT FALSE;
-- What a presented token must be like. Null: no limit.
ALTER TABLE auth_methods ADD COLUMN allow_legacy_tokens BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE auth_methods ADD COLUMN require_pod BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE auth_methods ADD COLUMN single_use BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE auth_methods ADD COLUMN max_presented_age_seconds BIGINT
    CONSTRAINT auth_methods_max_presented_age CHECK (max_presented_age_seconds BETWEEN 1 AND 31622400);
ALTER TABLE auth_methods ADD COLUMN max_presented_lifetime_seconds BIGINT
    CONSTRAINT auth_methods_max_presented_lifetime CHECK (max_presented_lifetime_seconds BETWEEN 1 AND 31622400);

-- From then on nothing that the key signed is taken. Null: never.
ALTER TABLE auth_method_keys ADD COLUMN expire_time BIGINT;
-- Written once a minute at most, so that a login isn't a write here. Null: never used.
ALTER TABLE auth_method_keys ADD COLUMN last_used_time BIGINT;

-- No renewal goes beyond. Null: a token of the version before, or not a workload's.
ALTER TABLE tokens ADD COLUMN max_expire_time BIGINT;

-- Of a login, those that its method's audit_logs_claims names: JSON. Null: none.
ALTER TABLE audit_events ADD COLUMN sub_claims TEXT;

-- Presented tokens that have logged in by a method that takes each once. The same token in another
-- cluster is another: a credential ID is drawn by whoever issued it.
CREATE TABLE presented_tokens (
    config_uid TEXT COLLATE "C" NOT NULL,
    credential_id TEXT COLLATE "C" NOT NULL,
    -- The presented token's own end; the row is kept for some minutes longer.
    expire_time BIGINT NOT NULL,
    CONSTRAINT presented_tokens_pk PRIMARY KEY (config_uid, credential_id)
);
CREATE INDEX presented_tokens_by_expire_time ON presented_tokens (expire_time);
