-- Waivers: differences between what a tenant has and what it should have that somebody has allowed, for a time.
CREATE TABLE labctl.waivers (
    tenant       text NOT NULL REFERENCES labctl.tenants (id),
    number       integer NOT NULL CHECK (number > 0),
    resource     text NOT NULL CHECK (resource ~ '^[a-z0-9_]+/[^/]+$'),
    field        text CHECK (btrim(field) <> ''),
    reason       text NOT NULL CHECK (btrim(reason) <> ''),
    until        timestamptz NOT NULL,
    who          text NOT NULL,
    host         text NOT NULL,
    placed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    removed_at   timestamptz,
    removed_by   text,
    removed_host text,
    PRIMARY KEY (tenant, number),
    -- A year and a day: a waiver is for a time.
    CHECK (until > placed_at AND until <= placed_at + interval '366 days'),
    CHECK ((removed_at IS NULL) = (removed_by IS NULL) AND (removed_at IS NULL) = (removed_host IS NULL))
);
COMMENT ON TABLE labctl.waivers IS 'Allowed differences. One that has run out or was removed stays on record.';
COMMENT ON COLUMN labctl.waivers.field IS 'The one field that may differ; none for all of the resource.';

CREATE FUNCTION labctl.check_waiver() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'waiver % of tenant % stays on record; it can only be removed from force', OLD.number, OLD.tenant USING ERRCODE = 'LC002';
    END IF;
    IF OLD.removed_at IS NOT NULL OR NEW.removed_at IS NULL
       OR (OLD.tenant, OLD.number, OLD.resource, OLD.field, OLD.reason, OLD.until, OLD.who, OLD.host, OLD.placed_at)
          IS DISTINCT FROM (NEW.tenant, NEW.number, NEW.resource, NEW.field, NEW.reason, NEW.until, NEW.who, NEW.host, NEW.placed_at) THEN
        RAISE EXCEPTION 'waiver % of tenant % can only be removed, once', OLD.number, OLD.tenant USING ERRCODE = 'LC002';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER check_waiver BEFORE UPDATE OR DELETE ON labctl.waivers FOR EACH ROW EXECUTE FUNCTION labctl.check_waiver();
CREATE TRIGGER immutable_as_a_whole BEFORE TRUNCATE ON labctl.waivers FOR EACH STATEMENT EXECUTE FUNCTION labctl.refuse_change();

-- The next tenant of that id is another one.
CREATE FUNCTION labctl.end_waivers() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE labctl.waivers w SET removed_at = clock_timestamp(), removed_by = 'purge', removed_host = '-' WHERE w.tenant = NEW.id AND w.removed_at IS NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER end_waivers AFTER UPDATE OF status ON labctl.tenants
    FOR EACH ROW WHEN (NEW.status = 'purged' AND OLD.status <> 'purged') EXECUTE FUNCTION labctl.end_waivers();
