-- Access keys that end and are replaced, gateways that are switched off, and which of their
-- replicas were heard of. Every new column has a default: what the version before writes says
-- nothing about them.

-- From then on nobody logs in by the key, and no token that it gave is good. Null: never.
ALTER TABLE access_keys ADD COLUMN expire_time BIGINT;
-- Written once a minute at most. Null: never used.
ALTER TABLE access_keys ADD COLUMN last_used_time BIGINT;

-- The key that an administrator's or a gateway's token came by: with it the token ends. Null: a
-- token of the version before, or a workload's. No foreign key: a key's deletion leaves the row.
ALTER TABLE tokens ADD COLUMN access_key_hash BYTEA
    CONSTRAINT tokens_access_key_hash_length CHECK (octet_length(access_key_hash) = 32);

-- The gateway's credential is refused, at login and at every use.
ALTER TABLE gateways ADD COLUMN disabled BOOLEAN NOT NULL DEFAULT FALSE;

-- What gateways' replicas last said of themselves. No part of the configuration: it takes no
-- revision, and is forgotten after a day's silence.
CREATE TABLE gateway_instances (
    gateway_uid TEXT COLLATE "C" NOT NULL CONSTRAINT gateway_instances_gateway_fk
        REFERENCES gateways (uid) ON DELETE CASCADE,
    -- A UUID that the replica draws at start.
    instance TEXT COLLATE "C" NOT NULL,
    version TEXT NOT NULL,
    -- As the control plane saw it; null: unknown.
    address TEXT,
    -- Of the configuration that it holds; null: none yet.
    revision BIGINT,
    -- JSON list; the first one seals.
    seal_key_ids TEXT NOT NULL,
    start_time BIGINT NOT NULL,
    last_contact_time BIGINT NOT NULL,
    CONSTRAINT gateway_instances_pk PRIMARY KEY (gateway_uid, instance)
);
CREATE INDEX gateway_instances_by_last_contact_time ON gateway_instances (last_contact_time);
