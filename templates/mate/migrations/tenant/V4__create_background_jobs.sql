-- Work that celery does for the hospital, and a record of who looked at whom.
CREATE TABLE background_jobs (
    id          uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    task        text        NOT NULL CHECK (task <> ''),
    arguments   jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(arguments) = 'object'),
    status      text        NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'running', 'succeeded', 'failed')),
    attempts    smallint    NOT NULL DEFAULT 0 CHECK (attempts BETWEEN 0 AND 100),
    run_after   timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    error       text,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CHECK ((status IN ('succeeded', 'failed')) = (finished_at IS NOT NULL))
);

-- What a worker takes next.
CREATE INDEX background_jobs_due ON background_jobs (run_after) WHERE status = 'queued';

CREATE TABLE access_log (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    staff_id    bigint      NOT NULL REFERENCES staff (id),
    patient_id  bigint      NOT NULL REFERENCES patients (id),
    action      text        NOT NULL CHECK (action IN ('read', 'write', 'export')),
    occurred_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE access_log IS 'Who looked at which patient; rows are added, never changed';

CREATE INDEX access_log_by_patient ON access_log (patient_id, occurred_at DESC);
CREATE INDEX access_log_by_staff ON access_log (staff_id, occurred_at DESC);

-- The application's role may update and delete rows of any table; this binds it here.
CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END;
$$;

CREATE TRIGGER access_log_append_only BEFORE UPDATE OR DELETE ON access_log
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
