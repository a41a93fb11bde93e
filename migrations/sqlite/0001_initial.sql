-- The schema for SQLite; the other engine's folder holds the same tables.
-- Times are microseconds since 1970 UTC. UIDs are UUIDs as text. Lists that are only ever read
-- whole are JSON; what people filter or revoke by is a column.

-- One row. Assertions are signed for this ID: a copy of the database keeps it, another deployment
-- has another, so that an assertion for one is worth nothing at the other.
CREATE TABLE deployment (
    only_one INTEGER NOT NULL CONSTRAINT deployment_pk PRIMARY KEY
        CONSTRAINT deployment_one_row CHECK (only_one = 1),
    id TEXT NOT NULL,
    create_time INTEGER NOT NULL
) STRICT;

-- One row. Every write of configuration adds one as its first statement and holds the row's lock
-- until it commits: writes are serial, revisions have no gaps, and whoever has read revision n
-- can't meet a smaller one later.
CREATE TABLE revision (
    only_one INTEGER NOT NULL CONSTRAINT revision_pk PRIMARY KEY
        CONSTRAINT revision_one_row CHECK (only_one = 1),
    value INTEGER NOT NULL
) STRICT;
INSERT INTO revision (only_one, value) VALUES (1, 0);

-- What each revision touched, by name; readers load the rows as they are now.
CREATE TABLE changes (
    revision INTEGER NOT NULL,
    kind TEXT NOT NULL
        CONSTRAINT changes_kind CHECK (kind IN ('auth_method', 'gateway', 'k8s_auth_config')),
    -- Full name, such as `authMethods/x`.
    name TEXT NOT NULL,
    -- The gateway that it concerns, so that no gateway hears of another's; empty: none.
    gateway_uid TEXT NOT NULL,
    CONSTRAINT changes_pk PRIMARY KEY (revision, kind, name, gateway_uid)
) STRICT;
CREATE INDEX changes_by_gateway ON changes (gateway_uid, revision);

CREATE TABLE auth_methods (
    uid TEXT NOT NULL CONSTRAINT auth_methods_pk PRIMARY KEY,
    id TEXT NOT NULL CONSTRAINT auth_methods_id_unique UNIQUE,
    access_id TEXT NOT NULL CONSTRAINT auth_methods_access_id_unique UNIQUE,
    kind TEXT NOT NULL
        CONSTRAINT auth_methods_kind CHECK (kind IN ('kubernetes', 'access_key')),
    description TEXT NOT NULL,
    -- From then on nobody logs in, and no token of the method is good. Null: never.
    access_expire_time INTEGER,
    token_ttl_seconds INTEGER NOT NULL
        CONSTRAINT auth_methods_token_ttl CHECK (token_ttl_seconds BETWEEN 1 AND 86400),
    disabled INTEGER NOT NULL
        CONSTRAINT auth_methods_disabled_boolean CHECK (disabled IN (0, 1)),
    -- JSON lists of addresses and CIDR blocks; `[]` restricts nothing. Never null: a list that
    -- isn't there must not read as one that allows everybody.
    bound_ips TEXT NOT NULL,
    gw_bound_ips TEXT NOT NULL,
    -- JSON list. Empty: the API server's own audience, unless any is allowed.
    audiences TEXT NOT NULL,
    allow_any_audience INTEGER NOT NULL
        CONSTRAINT auth_methods_allow_any_audience_boolean CHECK (allow_any_audience IN (0, 1)),
    -- JSON list of rules. One that can't be parsed, or has a field that this version doesn't
    -- know, makes the row unusable: nobody logs in by it.
    rules TEXT NOT NULL,
    -- The revision that last wrote the row, and its etag: never the same again after a deletion.
    revision INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL
) STRICT;

-- Public halves only: the private one never comes here.
CREATE TABLE auth_method_keys (
    method_uid TEXT NOT NULL CONSTRAINT auth_method_keys_method_fk
        REFERENCES auth_methods (uid) ON DELETE CASCADE,
    -- RFC 7638 thumbprint.
    key_id TEXT NOT NULL,
    -- PEM of a SubjectPublicKeyInfo.
    public_key TEXT NOT NULL,
    -- As the administrator listed them.
    position INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    CONSTRAINT auth_method_keys_pk PRIMARY KEY (method_uid, key_id)
) STRICT;

CREATE TABLE gateways (
    -- What tokens and configs refer to: a gateway made anew under an old name inherits nothing.
    uid TEXT NOT NULL CONSTRAINT gateways_pk PRIMARY KEY,
    name TEXT NOT NULL CONSTRAINT gateways_name_unique UNIQUE,
    access_id TEXT NOT NULL CONSTRAINT gateways_access_id_unique UNIQUE,
    -- Its origin is what an administrator's token is narrowed by, never the gateway's own answer.
    url TEXT NOT NULL,
    description TEXT NOT NULL,
    revision INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL
) STRICT;

-- Credentials of administrators and gateways.
CREATE TABLE access_keys (
    -- SHA-256 of a key of 256 random bits: whoever reads the table can't log in by it. The length
    -- is checked so that a key in clear can't be stored by mistake.
    key_hash BLOB NOT NULL CONSTRAINT access_keys_pk PRIMARY KEY
        CONSTRAINT access_keys_hash_length CHECK (length(key_hash) = 32),
    method_uid TEXT CONSTRAINT access_keys_method_fk
        REFERENCES auth_methods (uid) ON DELETE CASCADE,
    gateway_uid TEXT CONSTRAINT access_keys_gateway_fk
        REFERENCES gateways (uid) ON DELETE CASCADE,
    create_time INTEGER NOT NULL,
    CONSTRAINT access_keys_one_owner CHECK ((method_uid IS NULL) <> (gateway_uid IS NULL))
) STRICT;
CREATE INDEX access_keys_by_method ON access_keys (method_uid);
CREATE INDEX access_keys_by_gateway ON access_keys (gateway_uid);

CREATE TABLE k8s_auth_configs (
    uid TEXT NOT NULL CONSTRAINT k8s_auth_configs_pk PRIMARY KEY,
    gateway_uid TEXT NOT NULL CONSTRAINT k8s_auth_configs_gateway_fk REFERENCES gateways (uid),
    id TEXT NOT NULL,
    method_uid TEXT NOT NULL,
    -- From here to the box: the clear copy, for listing. No gateway acts on it.
    k8s_host TEXT NOT NULL,
    k8s_ca_cert TEXT NOT NULL,
    -- JSON list; empty only beside disable_issuer_validation, any other such row is unusable.
    issuers TEXT NOT NULL,
    disable_issuer_validation INTEGER NOT NULL
        CONSTRAINT k8s_auth_configs_disable_issuer_validation_boolean CHECK (disable_issuer_validation IN (0, 1)),
    disabled INTEGER NOT NULL
        CONSTRAINT k8s_auth_configs_disabled_boolean CHECK (disabled IN (0, 1)),
    token_exp_seconds INTEGER NOT NULL
        CONSTRAINT k8s_auth_configs_token_exp CHECK (token_exp_seconds BETWEEN 1 AND 300),
    signing_key_id TEXT NOT NULL,
    seal_key_id TEXT NOT NULL,
    reviewer_credential_expire_time INTEGER,
    -- Counts the seals: the gateway refuses a box that is older than one that it has opened.
    generation INTEGER NOT NULL
        CONSTRAINT k8s_auth_configs_generation CHECK (generation >= 1),
    -- Host, CA, issuers and credentials, sealed by the gateway: ciphertext to everybody here.
    sealed BLOB NOT NULL,
    revision INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    CONSTRAINT k8s_auth_configs_name_unique UNIQUE (gateway_uid, id),
    -- A config signs with a current key of its method, so that neither the key nor the method can
    -- go while it does.
    CONSTRAINT k8s_auth_configs_signing_key_fk FOREIGN KEY (method_uid, signing_key_id)
        REFERENCES auth_method_keys (method_uid, key_id)
) STRICT;
CREATE INDEX k8s_auth_configs_by_method ON k8s_auth_configs (method_uid, signing_key_id);

-- Every config's UID that was ever taken: subjects are named by it, so that it isn't taken twice.
CREATE TABLE k8s_auth_config_uids (
    uid TEXT NOT NULL CONSTRAINT k8s_auth_config_uids_pk PRIMARY KEY,
    create_time INTEGER NOT NULL
) STRICT;

-- Access tokens. Methods and gateways are looked up at every use and not referenced: a foreign
-- key would lock the method's row at each login, and a method's deletion would wait on it.
CREATE TABLE tokens (
    -- SHA-256 of a token of 256 random bits: whoever reads the table has no token.
    hash BLOB NOT NULL CONSTRAINT tokens_pk PRIMARY KEY
        CONSTRAINT tokens_hash_length CHECK (length(hash) = 32),
    -- The public name.
    accessor TEXT NOT NULL CONSTRAINT tokens_accessor_unique UNIQUE,
    kind TEXT NOT NULL
        CONSTRAINT tokens_kind CHECK (kind IN ('kubernetes', 'administrator', 'gateway')),
    access_id TEXT NOT NULL,
    -- Of a Kubernetes or administrator's token.
    method_uid TEXT,
    -- Of a gateway's token its gateway, of a Kubernetes one the gateway that it came through.
    gateway_uid TEXT,
    -- An administrator's token for calls at this gateway only, worth nothing elsewhere.
    narrowed_gateway_uid TEXT,
    -- The subject: a config and UIDs, never names alone, since those can be taken by others.
    config_uid TEXT,
    service_account_uid TEXT,
    pod_uid TEXT,
    namespace TEXT,
    -- Which replica of the gateway, for the record.
    instance TEXT,
    -- JSON; what the token says about its holder.
    sub_claims TEXT NOT NULL,
    issue_time INTEGER NOT NULL,
    expire_time INTEGER NOT NULL,
    CONSTRAINT tokens_owner CHECK (
        CASE kind WHEN 'gateway' THEN gateway_uid IS NOT NULL ELSE method_uid IS NOT NULL END
    )
) STRICT;
CREATE INDEX tokens_by_expire_time ON tokens (expire_time);

-- Assertions that were exchanged: each is good once.
CREATE TABLE assertions (
    method_uid TEXT NOT NULL,
    jti TEXT NOT NULL,
    -- Of the assertion's bytes: the same ones again are a retry and get the first answer, others
    -- under the same ID are a replay.
    sha256 BLOB NOT NULL CONSTRAINT assertions_sha256_length CHECK (length(sha256) = 32),
    gateway_uid TEXT NOT NULL,
    accessor TEXT NOT NULL,
    -- The assertion's end; the row is kept for some minutes longer.
    expire_time INTEGER NOT NULL,
    CONSTRAINT assertions_pk PRIMARY KEY (method_uid, jti)
) STRICT;
CREATE INDEX assertions_by_expire_time ON assertions (expire_time);

-- Never updated. Empty text means unknown or not concerned.
CREATE TABLE audit_events (
    -- Drawn where the event happened, so that a report sent twice is stored once.
    id TEXT NOT NULL CONSTRAINT audit_events_pk PRIMARY KEY,
    time INTEGER NOT NULL,
    event TEXT NOT NULL,
    component TEXT NOT NULL
        CONSTRAINT audit_events_component CHECK (component IN ('control-plane', 'gateway')),
    -- What a caller was told: the way from a refusal to its reason.
    request_id TEXT NOT NULL,
    gateway TEXT NOT NULL,
    k8s_auth_config TEXT NOT NULL,
    access_id TEXT NOT NULL,
    caller_ip TEXT,
    user_agent TEXT NOT NULL,
    accessor TEXT NOT NULL,
    resource TEXT NOT NULL,
    -- JSON of what was verified, never of what was only claimed.
    facts TEXT,
    reason TEXT NOT NULL,
    rule INTEGER,
    count INTEGER NOT NULL,
    revision INTEGER,
    -- JSON without secrets.
    before_json TEXT,
    after_json TEXT
) STRICT;
CREATE INDEX audit_events_by_time ON audit_events (time, id);
CREATE INDEX audit_events_by_request_id ON audit_events (request_id, time, id);
