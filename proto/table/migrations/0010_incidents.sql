-- What an analyst needs of an alert besides its proof.
ALTER TABLE alerts ADD COLUMN IF NOT EXISTS unless Array(String) COMMENT 'what would have kept it from being raised' AFTER reasons;
