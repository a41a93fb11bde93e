-- Tokens taken away in bulk, subjects that are blocked, and what each subject has had.

-- For deletions and lists by what a token says of its holder.
CREATE INDEX tokens_by_pod ON tokens (pod_uid);
CREATE INDEX tokens_by_service_account ON tokens (namespace, service_account_name);
CREATE INDEX tokens_by_service_account_uid ON tokens (service_account_uid);
CREATE INDEX tokens_by_method ON tokens (method_uid);

-- A token that matches and whose rules were read at a lower revision is dead, at once and also if it
-- was still being made: this row and not the deletion of tokens is what revokes them. It is removed
-- some minutes after the last such token.
CREATE TABLE revocations (
    revision INTEGER NOT NULL CONSTRAINT revocations_pk PRIMARY KEY,
    -- The narrowest of what follows, such as `pod:UID`: what a use finds it by.
    key TEXT NOT NULL,
    -- What a token must be; null: whatever it is.
    method_uid TEXT,
    config_uid TEXT,
    namespace TEXT,
    service_account_name TEXT,
    service_account_uid TEXT,
    pod_uid TEXT,
    create_time INTEGER NOT NULL,
    -- When the last of its tokens was deleted; null: some may be left.
    swept_time INTEGER
) STRICT;
CREATE INDEX revocations_by_key ON revocations (key, revision);

-- Who gets no token and may use none. Each comes with a revocation, so that its end revives nothing.
CREATE TABLE blocks (
    -- Whom, such as `pod:UID`.
    key TEXT NOT NULL,
    -- Where; empty: through any K8s auth config.
    config_uid TEXT NOT NULL,
    -- Its full name at that time.
    config TEXT NOT NULL,
    reason TEXT NOT NULL,
    -- Of who blocked.
    access_id TEXT NOT NULL,
    -- Null: until it is lifted.
    end_time INTEGER,
    revision INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    CONSTRAINT blocks_pk PRIMARY KEY (key, config_uid)
) STRICT;
CREATE INDEX blocks_by_end_time ON blocks (end_time);

-- What a subject has had lately. Its row's lock is what makes limits exact.
CREATE TABLE subjects (
    config_uid TEXT NOT NULL,
    service_account_uid TEXT NOT NULL,
    -- Empty: its token isn't bound to a pod.
    pod_uid TEXT NOT NULL,
    -- When a login was due before those that were admitted last, and how many those were.
    due_time INTEGER NOT NULL,
    admitted INTEGER NOT NULL,
    -- At least as many as it has live tokens; counted when that would be too many.
    tokens INTEGER NOT NULL,
    -- From then on the row says nothing.
    expire_time INTEGER NOT NULL,
    CONSTRAINT subjects_pk PRIMARY KEY (config_uid, service_account_uid, pod_uid)
) STRICT;
CREATE INDEX subjects_by_expire_time ON subjects (expire_time);
