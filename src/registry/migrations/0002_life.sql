-- What verbs have changed since the spec was written: suspended, scaled, deployed, renamed, deleted. A revision is both.
ALTER TABLE labctl.revisions ADD COLUMN life jsonb NOT NULL DEFAULT '{}';
