-- Keys that access tokens in the form of JWTs are signed with. The private halves are sealed under
-- the control plane's own keys, which no database has.
CREATE TABLE signing_keys (
    -- RFC 7638 thumbprint.
    key_id TEXT COLLATE "C" NOT NULL CONSTRAINT signing_keys_pk PRIMARY KEY,
    state TEXT NOT NULL CONSTRAINT signing_keys_state CHECK (state IN ('prepared', 'active', 'retired')),
    -- PEM.
    public_key TEXT NOT NULL,
    sealed BYTEA NOT NULL,
    -- The ID of the control plane's own key that opens it.
    seal_key_id TEXT COLLATE "C" NOT NULL,
    create_time BIGINT NOT NULL,
    -- Null: never.
    activate_time BIGINT,
    retire_time BIGINT,
    -- From then on it isn't published, and what it signed is worth nothing.
    remove_time BIGINT,
    CONSTRAINT signing_keys_times CHECK (
        (state = 'prepared' AND activate_time IS NULL AND retire_time IS NULL AND remove_time IS NULL)
        OR (state = 'active' AND activate_time IS NOT NULL AND retire_time IS NULL AND remove_time IS NULL)
        OR (state = 'retired' AND activate_time IS NOT NULL AND retire_time IS NOT NULL AND remove_time IS NOT NULL))
);
-- One signs, whatever replicas do at the same time.
CREATE UNIQUE INDEX signing_keys_active ON signing_keys (state) WHERE state = 'active';

-- What kinds there are is the program's to say: nothing is denied or allowed by them.
ALTER TABLE changes DROP CONSTRAINT IF EXISTS changes_kind;
