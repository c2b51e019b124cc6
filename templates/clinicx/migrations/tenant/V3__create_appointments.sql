CREATE TABLE appointments (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_id bigint      NOT NULL REFERENCES patients (id) ON DELETE RESTRICT,
    staff_id   bigint      NOT NULL REFERENCES staff (id) ON DELETE RESTRICT,
    starts_at  timestamptz NOT NULL,
    ends_at    timestamptz NOT NULL,
    status     text        NOT NULL DEFAULT 'booked' CHECK (status IN ('booked', 'arrived', 'completed', 'cancelled', 'no_show')),
    reason     text        NOT NULL DEFAULT '' CHECK (length(reason) <= 1000),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    -- For those who refer to an appointment together with its patient, so that both are the same person's.
    UNIQUE (id, patient_id),
    CHECK (ends_at > starts_at AND ends_at <= starts_at + interval '24 hours'),
    -- Nobody has two appointments at one moment; one may begin when another ends. The number as a range of one stands in for btree_gist, an
    -- extension that only the owner of a database may make: ranges are compared by PostgreSQL itself.
    CONSTRAINT appointments_one_at_a_time EXCLUDE USING gist (int8range(staff_id, staff_id, '[]') WITH =, tstzrange(starts_at, ends_at) WITH &&)
        WHERE (status NOT IN ('cancelled', 'no_show'))
);

COMMENT ON TABLE appointments IS 'One patient with one of the staff; those cancelled are kept';

CREATE TRIGGER appointments_touched BEFORE UPDATE ON appointments FOR EACH ROW EXECUTE FUNCTION touch_row();

CREATE INDEX appointments_by_patient ON appointments (patient_id, starts_at DESC);
CREATE INDEX appointments_by_staff ON appointments (staff_id, starts_at);
-- The day's list: what is still to come.
CREATE INDEX appointments_open ON appointments (starts_at) WHERE status IN ('booked', 'arrived');
