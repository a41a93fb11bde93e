-- What the JWT says that a renewal gave, as JSON, so that one that is repeated gives the same. Null: of a login, whose
-- token keeps it, or of an opaque token.

ALTER TABLE assertions ADD COLUMN jwt_claims TEXT;
