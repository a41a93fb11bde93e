-- Access tokens in the form of JWTs. Every new column has a default: what the version before writes
-- says nothing about them.

ALTER TABLE auth_methods ADD COLUMN token_format TEXT NOT NULL DEFAULT 'opaque'
    CONSTRAINT auth_methods_token_format CHECK (token_format IN ('opaque', 'jwt'));
-- JSON list: for whom a JWT can be.
ALTER TABLE auth_methods ADD COLUMN token_audiences TEXT NOT NULL DEFAULT '[]';

-- What a JWT says but its issuer, as JSON, so that an exchange that is repeated gives the same.
-- Null: an opaque token.
ALTER TABLE tokens ADD COLUMN jwt_claims TEXT;
