-- The registry's first shape. Everything that must never be wrong is held here, by the database, and not by the programs that write.
--
-- Own SQLSTATEs: LC001 a tenant's status may not move so; LC002 the row is immutable.

CREATE TABLE labctl.registry_meta (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    id         uuid NOT NULL DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE labctl.registry_meta IS 'Who this registry is: its id goes into the ownership tag of everything it makes.';
INSERT INTO labctl.registry_meta DEFAULT VALUES;

CREATE FUNCTION labctl.refuse_change() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% on %.% is refused: its rows are immutable', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'LC002';
END $$;

-- Tenants ---------------------------------------------------------------------------------------------------------------------------

CREATE TABLE labctl.tenants (
    id             text PRIMARY KEY CHECK (id ~ '^[a-z][a-z0-9]*(-[a-z0-9]+)*$' AND octet_length(id) BETWEEN 2 AND 40),
    external_id    text,
    display_name   text NOT NULL,
    subdomain      text NOT NULL,
    stack          text NOT NULL,
    tier           text NOT NULL,
    isolation      text NOT NULL CHECK (isolation IN ('rows', 'schema', 'database', 'instance', 'cluster')),
    status         text NOT NULL DEFAULT 'provisioning',
    revision       integer NOT NULL,
    provisioned_at timestamptz,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX tenants_subdomain_unique ON labctl.tenants (subdomain) WHERE status <> 'purged';
CREATE UNIQUE INDEX tenants_external_id_unique ON labctl.tenants (external_id) WHERE status <> 'purged';

CREATE TABLE labctl.tenant_moves (
    from_status text NOT NULL,
    to_status   text NOT NULL,
    PRIMARY KEY (from_status, to_status)
);
COMMENT ON TABLE labctl.tenant_moves IS 'The legal moves of a tenant''s status; a trigger refuses all others. Staying where one is is no move.';
INSERT INTO labctl.tenant_moves VALUES
    ('provisioning', 'active'),   ('provisioning', 'failed'),  ('provisioning', 'deleted'),
    ('active', 'updating'),       ('active', 'suspended'),     ('active', 'deleted'),
    ('updating', 'active'),       ('updating', 'suspended'),   ('updating', 'failed'),   ('updating', 'deleted'),
    ('suspended', 'active'),      ('suspended', 'updating'),   ('suspended', 'deleted'),
    ('failed', 'provisioning'),   ('failed', 'updating'),      ('failed', 'deleted'),
    ('deleted', 'active'),        ('deleted', 'suspended'),    ('deleted', 'updating'),  ('deleted', 'purging'),
    ('purging', 'purged'),
    ('purged', 'provisioning');

CREATE FUNCTION labctl.check_tenant_move() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.status <> 'provisioning' THEN
            RAISE EXCEPTION 'tenant % cannot begin as %', NEW.id, NEW.status USING ERRCODE = 'LC001', DETAIL = '(none) → ' || NEW.status;
        END IF;
        RETURN NEW;
    END IF;
    IF TG_OP = 'DELETE' OR NEW.id IS DISTINCT FROM OLD.id THEN
        RAISE EXCEPTION 'the row and the id of tenant % are for ever', OLD.id USING ERRCODE = 'LC002';
    END IF;
    IF NEW.status <> OLD.status
       AND NOT EXISTS (SELECT FROM labctl.tenant_moves m WHERE m.from_status = OLD.status AND m.to_status = NEW.status) THEN
        RAISE EXCEPTION 'tenant % cannot go from % to %', NEW.id, OLD.status, NEW.status
            USING ERRCODE = 'LC001', DETAIL = OLD.status || ' → ' || NEW.status;
    END IF;
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END $$;
CREATE TRIGGER tenant_moves BEFORE INSERT OR UPDATE OR DELETE ON labctl.tenants
    FOR EACH ROW EXECUTE FUNCTION labctl.check_tenant_move();

CREATE TABLE labctl.names (
    name_kind  text NOT NULL,
    name       text NOT NULL,
    tenant     text NOT NULL REFERENCES labctl.tenants (id),
    claimed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name_kind, name)
);
CREATE INDEX names_tenant ON labctl.names (tenant);
COMMENT ON TABLE labctl.names IS 'Physical names (schema, bucket, subdomain, …), each claimed by one tenant: a-b and a_b cannot both have tenant_a_b.';

CREATE FUNCTION labctl.free_names() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM labctl.names n WHERE n.tenant = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER free_names AFTER UPDATE OF status ON labctl.tenants
    FOR EACH ROW WHEN (NEW.status = 'purged' AND OLD.status <> 'purged') EXECUTE FUNCTION labctl.free_names();

-- Revisions -------------------------------------------------------------------------------------------------------------------------

CREATE TABLE labctl.revisions (
    tenant        text NOT NULL REFERENCES labctl.tenants (id),
    number        integer NOT NULL CHECK (number > 0),
    parent        integer CHECK (parent < number),
    spec          jsonb NOT NULL,
    stack_version text,
    tier_version  text,
    who           text NOT NULL,
    host          text NOT NULL,
    command       text NOT NULL,
    note          text,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, number),
    FOREIGN KEY (tenant, parent) REFERENCES labctl.revisions (tenant, number),
    CHECK ((parent IS NULL) = (number = 1))
);
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON labctl.revisions FOR EACH ROW EXECUTE FUNCTION labctl.refuse_change();
CREATE TRIGGER immutable_as_a_whole BEFORE TRUNCATE ON labctl.revisions FOR EACH STATEMENT EXECUTE FUNCTION labctl.refuse_change();

-- A tenant always points at a revision that exists; both are written in one transaction, hence deferred.
ALTER TABLE labctl.tenants ADD CONSTRAINT tenants_revision_exists
    FOREIGN KEY (id, revision) REFERENCES labctl.revisions (tenant, number) DEFERRABLE INITIALLY DEFERRED;

-- Operations ------------------------------------------------------------------------------------------------------------------------

CREATE TABLE labctl.operations (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant      text NOT NULL REFERENCES labctl.tenants (id),
    verb        text NOT NULL,
    revision    integer NOT NULL,
    status      text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'done', 'failed', 'interrupted', 'in_doubt', 'aborted')),
    who         text NOT NULL,
    host        text NOT NULL,
    pid         integer NOT NULL,
    command     text NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    attempts    integer NOT NULL DEFAULT 1,
    version     text NOT NULL,
    plan        jsonb NOT NULL,
    summary     jsonb,
    calls       jsonb,
    FOREIGN KEY (tenant, revision) REFERENCES labctl.revisions (tenant, number)
);
CREATE INDEX operations_tenant ON labctl.operations (tenant, number DESC);
-- Unfinished is what `operation resume` takes up again: all but done and aborted. A tenant has one at most.
CREATE UNIQUE INDEX operations_one_unfinished ON labctl.operations (tenant) WHERE status NOT IN ('done', 'aborted');

CREATE TABLE labctl.steps (
    operation   bigint NOT NULL REFERENCES labctl.operations (number),
    address     text NOT NULL,
    action      text NOT NULL CHECK (action IN ('keep', 'create', 'update', 'replace', 'delete')),
    status      text NOT NULL DEFAULT 'planned'
                CHECK (status IN ('planned', 'intended', 'created', 'done', 'failed', 'skipped', 'in_doubt', 'deleted')),
    position    integer NOT NULL,
    spec        jsonb NOT NULL DEFAULT '{}',
    tags        jsonb NOT NULL DEFAULT '{}',
    token       text,
    attempt     integer NOT NULL DEFAULT 0,
    id          text,
    epoch       bigint,
    intended_at timestamptz,
    created_at  timestamptz,
    finished_at timestamptz,
    fault       jsonb,
    because     text,
    PRIMARY KEY (operation, address)
);

-- Resources -------------------------------------------------------------------------------------------------------------------------

CREATE TABLE labctl.resources (
    address    text PRIMARY KEY,
    tenant     text NOT NULL REFERENCES labctl.tenants (id),
    kind       text NOT NULL,
    name       text NOT NULL,
    id         text,
    status     text NOT NULL CHECK (status IN ('intended', 'created', 'ready', 'failed', 'in_doubt', 'deleted')),
    spec       jsonb NOT NULL DEFAULT '{}',
    outputs    jsonb NOT NULL DEFAULT '{}',
    tags       jsonb NOT NULL DEFAULT '{}',
    position   integer NOT NULL,
    operation  bigint NOT NULL REFERENCES labctl.operations (number),
    token      text,
    attempt    integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (address = tenant || '/' || kind || '/' || name),
    CHECK (id IS NOT NULL OR status NOT IN ('created', 'ready'))
);
CREATE INDEX resources_tenant ON labctl.resources (tenant, position);
COMMENT ON COLUMN labctl.resources.spec IS 'From "ready" on, the spec with all references resolved; before that as planned, with ${…}. No secrets.';
COMMENT ON COLUMN labctl.resources.position IS 'Place in the order of creation; deletion goes in reverse.';

-- Leases ----------------------------------------------------------------------------------------------------------------------------

-- No reference to tenants: the lease is taken before the tenant is on record. A released lease keeps its row, so that epochs only rise.
CREATE TABLE labctl.leases (
    tenant       text PRIMARY KEY,
    epoch        bigint NOT NULL,
    holder       text,
    host         text NOT NULL,
    pid          integer NOT NULL,
    machine      text,
    started      text,
    what         text NOT NULL,
    acquired_at  timestamptz NOT NULL,
    heartbeat_at timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL
);
COMMENT ON COLUMN labctl.leases.holder IS 'NULL: nobody holds it.';
COMMENT ON COLUMN labctl.leases.machine IS 'Boot id and process namespace of the holder: only where they equal ours does its pid mean anything to us.';
COMMENT ON COLUMN labctl.leases.started IS 'When that pid began, in the kernel''s ticks: a reused pid has another.';

-- Audit -----------------------------------------------------------------------------------------------------------------------------

CREATE TABLE labctl.audit (
    seq       bigint PRIMARY KEY,
    at        timestamptz NOT NULL,
    who       text NOT NULL,
    host      text NOT NULL,
    action    text NOT NULL,
    tenant    text,
    detail    jsonb NOT NULL,
    prev_hash text NOT NULL,
    hash      text NOT NULL
);
CREATE INDEX audit_tenant ON labctl.audit (tenant, seq);

CREATE TABLE labctl.audit_head (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    seq      bigint NOT NULL DEFAULT 0,
    hash     text NOT NULL DEFAULT repeat('0', 64)
);
INSERT INTO labctl.audit_head DEFAULT VALUES;

CREATE FUNCTION labctl.audit_field(field text) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT octet_length(field)::text || ':' || field || ',' $$;

-- The canonical text is each field with its length in bytes before it, so that no two rows can have the same. Verified in registry/audit.rs,
-- which does not trust this function.
CREATE FUNCTION labctl.chain_audit() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    head labctl.audit_head;
BEGIN
    SELECT * INTO STRICT head FROM labctl.audit_head FOR UPDATE;
    NEW.seq := head.seq + 1;
    NEW.at := clock_timestamp();
    NEW.prev_hash := head.hash;
    NEW.hash := encode(sha256(convert_to(
        labctl.audit_field(NEW.seq::text)
        || labctl.audit_field(to_char(NEW.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
        || labctl.audit_field(NEW.who) || labctl.audit_field(NEW.host) || labctl.audit_field(NEW.action)
        || labctl.audit_field(coalesce(NEW.tenant, '')) || labctl.audit_field(NEW.detail::text) || labctl.audit_field(NEW.prev_hash),
        'UTF8')), 'hex');
    UPDATE labctl.audit_head SET seq = NEW.seq, hash = NEW.hash;
    RETURN NEW;
END $$;
CREATE TRIGGER chain BEFORE INSERT ON labctl.audit FOR EACH ROW EXECUTE FUNCTION labctl.chain_audit();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON labctl.audit FOR EACH ROW EXECUTE FUNCTION labctl.refuse_change();
CREATE TRIGGER immutable_as_a_whole BEFORE TRUNCATE ON labctl.audit FOR EACH STATEMENT EXECUTE FUNCTION labctl.refuse_change();
