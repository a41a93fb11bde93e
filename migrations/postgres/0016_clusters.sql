-- Tokens that end with their pods.
-- Every new column has a default: what the version before writes says nothing about them.

ALTER TABLE auth_methods ADD COLUMN revoke_with_pod BOOLEAN NOT NULL DEFAULT FALSE;

-- Pods that a gateway found deleted, for an hour: none gets a token any more that ends with its pod. A
-- UID never comes back.
CREATE TABLE deleted_pods (
    config_uid TEXT COLLATE "C" NOT NULL,
    pod_uid TEXT COLLATE "C" NOT NULL,
    delete_time BIGINT NOT NULL,
    CONSTRAINT deleted_pods_pk PRIMARY KEY (config_uid, pod_uid)
);
CREATE INDEX deleted_pods_by_delete_time ON deleted_pods (delete_time);

-- Which pods hold tokens of a config, and the tokens of one.
CREATE INDEX tokens_by_config_and_pod ON tokens (config_uid, pod_uid) WHERE pod_uid IS NOT NULL;
