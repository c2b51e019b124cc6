CREATE TABLE appointments (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_id bigint      NOT NULL REFERENCES patients (id),
    staff_id   bigint      NOT NULL REFERENCES staff (id),
    starts_at  timestamptz NOT NULL,
    ends_at    timestamptz NOT NULL,
    status     text        NOT NULL DEFAULT 'booked' CHECK (status IN ('booked', 'arrived', 'fulfilled', 'cancelled', 'noshow')),
    reason     text        NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK (ends_at > starts_at),
    CHECK (ends_at <= starts_at + interval '24 hours')
);

CREATE INDEX appointments_by_patient ON appointments (patient_id, starts_at DESC);
-- The day's list: what is still to come.
CREATE INDEX appointments_open ON appointments (starts_at) WHERE status IN ('booked', 'arrived');
CREATE INDEX appointments_by_staff ON appointments (staff_id, starts_at);
-- Nobody is booked twice for one moment. Longer overlaps are the application's to refuse: an exclusion constraint would need the extension
-- btree_gist in the schema, and not every tenant's database may have extensions.
CREATE UNIQUE INDEX appointments_one_at_a_time ON appointments (staff_id, starts_at) WHERE status NOT IN ('cancelled', 'noshow');
