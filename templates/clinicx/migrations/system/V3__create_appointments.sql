CREATE TABLE appointments (
    tenant_id  text        NOT NULL,
    id         bigint      GENERATED ALWAYS AS IDENTITY,
    patient_id bigint      NOT NULL,
    staff_id   bigint      NOT NULL,
    starts_at  timestamptz NOT NULL,
    ends_at    timestamptz NOT NULL,
    status     text        NOT NULL DEFAULT 'booked' CHECK (status IN ('booked', 'arrived', 'completed', 'cancelled', 'no_show')),
    reason     text        NOT NULL DEFAULT '' CHECK (length(reason) <= 1000),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, id, patient_id),
    FOREIGN KEY (tenant_id, patient_id) REFERENCES patients (tenant_id, id) ON DELETE RESTRICT,
    FOREIGN KEY (tenant_id, staff_id) REFERENCES staff (tenant_id, id) ON DELETE RESTRICT,
    -- In a schema of its own a tenant has a constraint against two appointments at one moment as well. It would need an index that compares
    -- the tenant, too, which takes an extension that only the owner of a database may make.
    CHECK (ends_at > starts_at AND ends_at <= starts_at + interval '24 hours')
);

CREATE TRIGGER appointments_touched BEFORE UPDATE ON appointments FOR EACH ROW EXECUTE FUNCTION touch_row();

-- Nobody begins two appointments at one moment.
CREATE UNIQUE INDEX appointments_one_at_a_time ON appointments (tenant_id, staff_id, starts_at) WHERE status NOT IN ('cancelled', 'no_show');
CREATE INDEX appointments_by_patient ON appointments (tenant_id, patient_id, starts_at DESC);
CREATE INDEX appointments_by_staff ON appointments (tenant_id, staff_id, starts_at);
CREATE INDEX appointments_open ON appointments (tenant_id, starts_at) WHERE status IN ('booked', 'arrived');
