-- Documents are objects in the tenant's bucket; here is what they are, whose, and how to tell that they are unchanged.
CREATE TABLE documents (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_id     bigint      NOT NULL REFERENCES patients (id),
    appointment_id bigint      REFERENCES appointments (id),
    author_id      bigint      NOT NULL REFERENCES staff (id),
    category       text        NOT NULL CHECK (category IN ('referral', 'letter', 'finding', 'image', 'consent', 'other')),
    title          text        NOT NULL CHECK (title <> ''),
    object_key     text        NOT NULL UNIQUE CHECK (octet_length(object_key) BETWEEN 1 AND 1024),
    content_type   text        NOT NULL CHECK (content_type LIKE '%_/_%'),
    size_bytes     bigint      NOT NULL CHECK (size_bytes >= 0),
    sha256         bytea       NOT NULL CHECK (length(sha256) = 32),
    -- A corrected document points to the one it replaces; nothing is overwritten.
    replaces_id    bigint      UNIQUE REFERENCES documents (id),
    created_at     timestamptz NOT NULL DEFAULT now(),
    CHECK (replaces_id <> id)
);

CREATE INDEX documents_by_patient ON documents (patient_id, created_at DESC);
CREATE INDEX documents_by_appointment ON documents (appointment_id) WHERE appointment_id IS NOT NULL;
CREATE INDEX documents_by_author ON documents (author_id);
