-- What a gateway gave is taken away in bulk when the gateway is disabled or deleted.
ALTER TABLE revocations ADD COLUMN gateway_uid TEXT;
