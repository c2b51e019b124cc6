-- Runs over many tenants: what was asked for, and what became of each tenant.
--
-- A run is unfinished until nobody of it is behind. Only tenants that had something to do get a row; the others are counted.

CREATE TABLE labctl.fleet_runs (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    status      text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'done', 'incomplete', 'stopped', 'interrupted')),
    who         text NOT NULL,
    host        text NOT NULL,
    command     text NOT NULL,
    version     text NOT NULL,
    options     jsonb NOT NULL,
    targets     jsonb NOT NULL,
    tenants     integer NOT NULL CHECK (tenants >= 0),
    current     integer NOT NULL CHECK (current >= 0),
    attempts    integer NOT NULL DEFAULT 1,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz
);
COMMENT ON COLUMN labctl.fleet_runs.targets IS 'By stack: the files of its history when the run began, and how far to go';
COMMENT ON COLUMN labctl.fleet_runs.current IS 'Tenants that had nothing to do when the run began; they have no row in fleet_results';

CREATE TABLE labctl.fleet_results (
    run          bigint NOT NULL REFERENCES labctl.fleet_runs (number),
    tenant       text NOT NULL REFERENCES labctl.tenants (id),
    wave         integer NOT NULL CHECK (wave >= 0),
    status       text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'migrated', 'found', 'failed', 'locked')),
    from_version text NOT NULL,
    to_version   text,
    fault        jsonb,
    attempts     integer NOT NULL DEFAULT 0,
    millis       integer,
    finished_at  timestamptz,
    PRIMARY KEY (run, tenant),
    CHECK ((status IN ('migrated', 'found')) = (to_version IS NOT NULL)),
    CHECK ((status IN ('failed', 'locked')) = (fault IS NOT NULL))
);
CREATE INDEX fleet_results_tenant ON labctl.fleet_results (tenant, run DESC);
COMMENT ON COLUMN labctl.fleet_results.status IS 'found: already there when its turn came, because an earlier attempt was cut off after the change, or somebody else migrated it';
COMMENT ON COLUMN labctl.fleet_results.wave IS '0 is the canary';
