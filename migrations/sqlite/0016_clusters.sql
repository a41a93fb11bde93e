-- Tokens that end with their pods.
-- Every new column has a default: what the version before writes says nothing about them.

ALTER TABLE auth_methods ADD COLUMN revoke_with_pod INTEGER NOT NULL DEFAULT 0
    CONSTRAINT auth_methods_revoke_with_pod_boolean CHECK (revoke_with_pod IN (0, 1));

-- Pods that a gateway found deleted, for an hour: none gets a token any more that ends with its pod. A
-- UID never comes back.
CREATE TABLE deleted_pods (
    config_uid TEXT NOT NULL,
    pod_uid TEXT NOT NULL,
    delete_time INTEGER NOT NULL,
    CONSTRAINT deleted_pods_pk PRIMARY KEY (config_uid, pod_uid)
) STRICT;
CREATE INDEX deleted_pods_by_delete_time ON deleted_pods (delete_time);

-- Which pods hold tokens of a config, and the tokens of one.
CREATE INDEX tokens_by_config_and_pod ON tokens (config_uid, pod_uid) WHERE pod_uid IS NOT NULL;
