-- What a token is worth: how often it can be used, how old the rules are that it was given by.
-- Every new column has a default: what the version before writes says nothing about them.

-- Null: tokens can be used as often as one likes.
ALTER TABLE auth_methods ADD COLUMN token_num_uses INTEGER
    CONSTRAINT auth_methods_token_num_uses CHECK (token_num_uses BETWEEN 1 AND 1000000);
ALTER TABLE auth_methods ADD COLUMN cap_to_presented_expiry INTEGER NOT NULL DEFAULT 0
    CONSTRAINT auth_methods_cap_to_presented_expiry_boolean CHECK (cap_to_presented_expiry IN (0, 1));

-- The configuration's revision that was read before the rules that the token was given by. 0: a
-- token of the version before, older than any revocation.
ALTER TABLE tokens ADD COLUMN rules_revision INTEGER NOT NULL DEFAULT 0;
-- Counted down at every use; at 0 the token is worth nothing. Null: no limit.
ALTER TABLE tokens ADD COLUMN uses_left INTEGER
    CONSTRAINT tokens_uses_left CHECK (uses_left >= 0);
ALTER TABLE tokens ADD COLUMN format TEXT NOT NULL DEFAULT 'opaque'
    CONSTRAINT tokens_format CHECK (format IN ('opaque', 'jwt'));
-- Beside its UID, which is what the subject goes by: people revoke by name. Null: of a token of the
-- version before, or not a workload's.
ALTER TABLE tokens ADD COLUMN service_account_name TEXT;
