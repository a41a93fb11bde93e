-- Keys that access tokens in the form of JWTs are signed with. The private halves are sealed under
-- the control plane's own keys, which no database has.
CREATE TABLE signing_keys (
    -- RFC 7638 thumbprint.
    key_id TEXT NOT NULL CONSTRAINT signing_keys_pk PRIMARY KEY,
    state TEXT NOT NULL CONSTRAINT signing_keys_state CHECK (state IN ('prepared', 'active', 'retired')),
    -- PEM.
    public_key TEXT NOT NULL,
    sealed BLOB NOT NULL,
    -- The ID of the control plane's own key that opens it.
    seal_key_id TEXT NOT NULL,
    create_time INTEGER NOT NULL,
    -- Null: never.
    activate_time INTEGER,
    retire_time INTEGER,
    -- From then on it isn't published, and what it signed is worth nothing.
    remove_time INTEGER,
    CONSTRAINT signing_keys_times CHECK (
        (state = 'prepared' AND activate_time IS NULL AND retire_time IS NULL AND remove_time IS NULL)
        OR (state = 'active' AND activate_time IS NOT NULL AND retire_time IS NULL AND remove_time IS NULL)
        OR (state = 'retired' AND activate_time IS NOT NULL AND retire_time IS NOT NULL AND remove_time IS NOT NULL))
) STRICT;
-- One signs, whatever replicas do at the same time.
CREATE UNIQUE INDEX signing_keys_active ON signing_keys (state) WHERE state = 'active';

-- What kinds there are is the program's to say: nothing is denied or allowed by them. SQLite has no
-- other way to drop a constraint.
CREATE TABLE changes_of_any_kind (
    revision INTEGER NOT NULL,
    kind TEXT NOT NULL,
    -- Full name, such as `authMethods/x`.
    name TEXT NOT NULL,
    -- The gateway that it concerns, so that no gateway hears of another's; empty: none.
    gateway_uid TEXT NOT NULL,
    CONSTRAINT changes_pk PRIMARY KEY (revision, kind, name, gateway_uid)
) STRICT;
INSERT INTO changes_of_any_kind SELECT revision, kind, name, gateway_uid FROM changes;
DROP TABLE changes;
ALTER TABLE changes_of_any_kind RENAME TO changes;
CREATE INDEX changes_by_gateway ON changes (gateway_uid, revision);
