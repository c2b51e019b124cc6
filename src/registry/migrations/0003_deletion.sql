-- Soft deletion: legal holds, and the certificates of purged tenants.
--
-- Own SQLSTATE: LC003 a hold stands in the way of a purge, or a purge in the way of a hold.

-- What was deleted before it was ever ready is brought back as what it was.
INSERT INTO labctl.tenant_moves VALUES ('deleted', 'provisioning');

CREATE TABLE labctl.holds (
    tenant       text NOT NULL REFERENCES labctl.tenants (id),
    number       integer NOT NULL CHECK (number > 0),
    reason       text NOT NULL CHECK (btrim(reason) <> ''),
    who          text NOT NULL,
    host         text NOT NULL,
    placed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    removed_at   timestamptz,
    removed_by   text,
    removed_host text,
    PRIMARY KEY (tenant, number),
    CHECK ((removed_at IS NULL) = (removed_by IS NULL) AND (removed_at IS NULL) = (removed_host IS NULL))
);
COMMENT ON TABLE labctl.holds IS 'Why a tenant may not be purged. A removed hold stays on record.';

-- The tenant's row is locked first: a hold and the beginning of a purge at the same moment are one after the other.
CREATE FUNCTION labctl.check_hold() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    is_now text;
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'hold % of tenant % stays on record; it can only be removed from force', OLD.number, OLD.tenant USING ERRCODE = 'LC002';
    END IF;
    IF TG_OP = 'UPDATE' THEN
        IF OLD.removed_at IS NOT NULL OR NEW.removed_at IS NULL
           OR (OLD.tenant, OLD.number, OLD.reason, OLD.who, OLD.host, OLD.placed_at)
              IS DISTINCT FROM (NEW.tenant, NEW.number, NEW.reason, NEW.who, NEW.host, NEW.placed_at) THEN
            RAISE EXCEPTION 'hold % of tenant % can only be removed, once', OLD.number, OLD.tenant USING ERRCODE = 'LC002';
        END IF;
        RETURN NEW;
    END IF;
    SELECT t.status INTO is_now FROM labctl.tenants t WHERE t.id = NEW.tenant FOR UPDATE;
    IF is_now IN ('purging', 'purged') THEN
        RAISE EXCEPTION 'tenant % is %: it is too late for a hold', NEW.tenant, is_now USING ERRCODE = 'LC003';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER check_hold BEFORE INSERT OR UPDATE OR DELETE ON labctl.holds FOR EACH ROW EXECUTE FUNCTION labctl.check_hold();
CREATE TRIGGER immutable_as_a_whole BEFORE TRUNCATE ON labctl.holds FOR EACH STATEMENT EXECUTE FUNCTION labctl.refuse_change();

CREATE FUNCTION labctl.heed_holds() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    why text;
BEGIN
    SELECT string_agg(format('%s (%s)', h.number, h.reason), ', ' ORDER BY h.number) INTO why
    FROM labctl.holds h WHERE h.tenant = NEW.id AND h.removed_at IS NULL;
    IF why IS NOT NULL THEN
        RAISE EXCEPTION 'tenant % is held and cannot be purged: hold %', NEW.id, why USING ERRCODE = 'LC003';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER heed_holds BEFORE UPDATE OF status ON labctl.tenants
    FOR EACH ROW WHEN (NEW.status = 'purging' AND OLD.status <> 'purging') EXECUTE FUNCTION labctl.heed_holds();

CREATE TABLE labctl.certificates (
    tenant    text NOT NULL REFERENCES labctl.tenants (id),
    number    integer NOT NULL CHECK (number > 0),
    operation bigint NOT NULL UNIQUE REFERENCES labctl.operations (number),
    issued_at timestamptz NOT NULL,
    document  jsonb NOT NULL,
    digest    text NOT NULL,
    PRIMARY KEY (tenant, number)
);
COMMENT ON TABLE labctl.certificates IS 'What each purge of a tenant removed, and what remains until when. One for each life of the id.';
COMMENT ON COLUMN labctl.certificates.digest IS 'SHA-256 of the document as JSON without blanks, keys sorted; it stands in the audit trail too.';
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON labctl.certificates FOR EACH ROW EXECUTE FUNCTION labctl.refuse_change();
CREATE TRIGGER immutable_as_a_whole BEFORE TRUNCATE ON labctl.certificates FOR EACH STATEMENT EXECUTE FUNCTION labctl.refuse_change();
