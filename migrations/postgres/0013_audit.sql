-- Audit records that can be searched, and that can't be changed unnoticed.

-- The seal that holds the record. Null: none yet, or a record of a version that seals none. The other columns are
-- never updated.
ALTER TABLE audit_events ADD COLUMN seal BIGINT;
-- Of `facts`, what people search by. Null: not verified, or written by the version before.
ALTER TABLE audit_events ADD COLUMN namespace TEXT;
ALTER TABLE audit_events ADD COLUMN service_account TEXT;
ALTER TABLE audit_events ADD COLUMN pod TEXT;
-- Of a token that was issued.
ALTER TABLE audit_events ADD COLUMN token_expire_time BIGINT;
CREATE INDEX audit_events_by_seal ON audit_events (seal);

-- Batches of records, in the order in which they were sealed: what commits late is in a later one.
CREATE TABLE audit_seals (
    sequence BIGINT NOT NULL CONSTRAINT audit_seals_pk PRIMARY KEY
        CONSTRAINT audit_seals_sequence CHECK (sequence > 0),
    -- Which columns of a record its digest covers.
    format BIGINT NOT NULL,
    previous BYTEA NOT NULL,
    time BIGINT NOT NULL,
    -- Of each record its UUID and the SHA-256 of its columns: 48 bytes.
    records BYTEA NOT NULL,
    -- SHA-256 of all of the above.
    digest BYTEA NOT NULL CONSTRAINT audit_seals_digest_length CHECK (octet_length(digest) = 32),
    -- HMAC of the digest, under a key that isn't in the database.
    key_id TEXT NOT NULL,
    mac BYTEA NOT NULL
);

-- One row, whose lock is held by whoever seals.
CREATE TABLE audit_chain (
    only_one BIGINT NOT NULL CONSTRAINT audit_chain_pk PRIMARY KEY
        CONSTRAINT audit_chain_one_row CHECK (only_one = 1),
    -- Of the last seal; 0 and null before the first.
    sequence BIGINT NOT NULL,
    digest BYTEA,
    -- Of the last seal that retention removed, MACed; null when it removed none.
    anchor_sequence BIGINT,
    anchor_digest BYTEA,
    anchor_key_id TEXT,
    anchor_mac BYTEA
);
INSERT INTO audit_chain (only_one, sequence) VALUES (1, 0);

-- Logins by minute and what came of them; counted when their records are sealed, each once.
CREATE TABLE login_stats (
    -- Microseconds since 1970 UTC.
    minute BIGINT NOT NULL,
    k8s_auth_config TEXT COLLATE "C" NOT NULL,
    result TEXT NOT NULL CONSTRAINT login_stats_result CHECK (result IN ('granted', 'denied')),
    reason TEXT COLLATE "C" NOT NULL,
    count BIGINT NOT NULL,
    CONSTRAINT login_stats_pk PRIMARY KEY (minute, k8s_auth_config, result, reason)
);
