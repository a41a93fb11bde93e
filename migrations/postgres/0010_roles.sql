-- Roles and associations: what tokens may do, administrators' included.

CREATE TABLE roles (
    uid TEXT COLLATE "C" NOT NULL CONSTRAINT roles_pk PRIMARY KEY,
    id TEXT COLLATE "C" NOT NULL CONSTRAINT roles_id_unique UNIQUE,
    description TEXT NOT NULL,
    -- JSON list. One that can't be parsed makes the role unusable, and whoever would have it denied.
    rules TEXT NOT NULL,
    -- JSON list; of a built-in role empty, since the program says what it holds.
    permissions TEXT NOT NULL,
    delete_protection BOOLEAN NOT NULL,
    -- The revision that last wrote the row, and its etag.
    revision BIGINT NOT NULL,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL
);

CREATE TABLE associations (
    uid TEXT COLLATE "C" NOT NULL CONSTRAINT associations_pk PRIMARY KEY,
    method_uid TEXT COLLATE "C" NOT NULL CONSTRAINT associations_method_fk
        REFERENCES auth_methods (uid) ON DELETE CASCADE,
    role_uid TEXT COLLATE "C" NOT NULL CONSTRAINT associations_role_fk REFERENCES roles (uid),
    -- JSON. Which of the method's tokens have the role; never null: a condition that isn't there
    -- must not read as one that holds.
    sub_claims TEXT NOT NULL,
    revision BIGINT NOT NULL,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL,
    CONSTRAINT associations_once UNIQUE (method_uid, role_uid, sub_claims)
);
CREATE INDEX associations_by_role ON associations (role_uid);

-- The built-in ones, under UIDs that the program knows them by.
INSERT INTO roles (uid, id, description, rules, permissions, delete_protection, revision, create_time, update_time)
VALUES
    ('00000000-0000-0000-0000-000000000001', 'admin', 'May do everything', '[]', '[]', TRUE, 0, 0, 0),
    ('00000000-0000-0000-0000-000000000002', 'operator', 'Keeps logins running, and makes no administrators', '[]', '[]', TRUE, 0, 0, 0),
    ('00000000-0000-0000-0000-000000000003', 'auditor', 'Sees everything, and changes nothing', '[]', '[]', TRUE, 0, 0, 0),
    ('00000000-0000-0000-0000-000000000004', 'gateway', 'What gateways'' own credentials have', '[]', '[]', TRUE, 0, 0, 0);

-- Until now whoever had an access key could do everything. The association's UID is the method's,
-- which no other association has.
INSERT INTO associations (uid, method_uid, role_uid, sub_claims, revision, create_time, update_time)
SELECT uid, uid, '00000000-0000-0000-0000-000000000001', '{"claims":{},"case_insensitive":false}',
       revision, create_time, create_time
FROM auth_methods WHERE kind = 'access_key';

ALTER TABLE changes DROP CONSTRAINT changes_kind;
ALTER TABLE changes ADD CONSTRAINT changes_kind
    CHECK (kind IN ('auth_method', 'gateway', 'k8s_auth_config', 'role', 'association'));
