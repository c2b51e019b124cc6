-- Evidence: what was done to prove a promise, and what came of it. Rows are written once; each is in the audit trail by its digest.
CREATE TABLE labctl.evidence (
    number    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant    text NOT NULL REFERENCES labctl.tenants (id),
    what      text NOT NULL,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    who       text NOT NULL,
    host      text NOT NULL,
    command   text NOT NULL,
    version   text NOT NULL,
    verdict   text NOT NULL,
    summary   jsonb NOT NULL,
    result    jsonb NOT NULL,
    digest    text NOT NULL
);
CREATE INDEX evidence_tenant ON labctl.evidence (tenant, number DESC);
COMMENT ON COLUMN labctl.evidence.digest IS 'SHA-256 of the result as PostgreSQL writes it, in hexadecimal; the audit trail has it too.';
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON labctl.evidence FOR EACH ROW EXECUTE FUNCTION labctl.refuse_change();
CREATE TRIGGER immutable_as_a_whole BEFORE TRUNCATE ON labctl.evidence FOR EACH STATEMENT EXECUTE FUNCTION labctl.refuse_change();
