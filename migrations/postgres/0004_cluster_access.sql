-- How a gateway reaches a cluster and verifies its tokens: more of the clear copy, for listing.
-- What was there before reviews tokens at an API server with a token.
ALTER TABLE k8s_auth_configs ADD COLUMN tls_server_name TEXT NOT NULL DEFAULT '';
ALTER TABLE k8s_auth_configs ADD COLUMN reviewer TEXT NOT NULL DEFAULT 'token'
    CONSTRAINT k8s_auth_configs_reviewer CHECK (
        reviewer IN ('token', 'certificate', 'gateway_service_account', 'presented_token', 'rancher_api_key')
    );
-- Of a certificate its PEM, of the gateway's service account the cluster that it is pinned to, of a
-- Rancher API key the cluster's ID there.
ALTER TABLE k8s_auth_configs ADD COLUMN reviewer_shown TEXT NOT NULL DEFAULT '';
ALTER TABLE k8s_auth_configs ADD COLUMN mode TEXT NOT NULL DEFAULT 'review'
    CONSTRAINT k8s_auth_configs_mode CHECK (mode IN ('review', 'offline', 'jwks_then_review'));
-- Empty: asked of the cluster.
ALTER TABLE k8s_auth_configs ADD COLUMN jwks TEXT NOT NULL DEFAULT '';
ALTER TABLE k8s_auth_configs ADD COLUMN connect_timeout_millis BIGINT NOT NULL DEFAULT 3000
    CONSTRAINT k8s_auth_configs_connect_timeout CHECK (connect_timeout_millis BETWEEN 1 AND 10000);
ALTER TABLE k8s_auth_configs ADD COLUMN total_timeout_millis BIGINT NOT NULL DEFAULT 10000
    CONSTRAINT k8s_auth_configs_total_timeout CHECK (total_timeout_millis BETWEEN 1 AND 10000);
