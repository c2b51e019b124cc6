-- The people of a hospital: staff and patients. Schema and rights are labctl's business: names here are unqualified on purpose.
CREATE TABLE staff (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The user's `sub` in the tenant's Cognito pool; none until the first login.
    identity_sub uuid        UNIQUE,
    email        text        NOT NULL CHECK (email LIKE '%_@_%'),
    given_name   text        NOT NULL CHECK (given_name <> ''),
    family_name  text        NOT NULL CHECK (family_name <> ''),
    profession   text        NOT NULL CHECK (profession IN ('physician', 'nurse', 'therapist', 'administration')),
    active       boolean     NOT NULL DEFAULT true,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
);

CREATE UNIQUE INDEX staff_by_email ON staff (lower(email));

CREATE TABLE patients (
    id                    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    medical_record_number text        NOT NULL UNIQUE CHECK (length(medical_record_number) BETWEEN 1 AND 50),
    given_name            text        NOT NULL CHECK (given_name <> ''),
    family_name           text        NOT NULL CHECK (family_name <> ''),
    date_of_birth         date        NOT NULL CHECK (date_of_birth > DATE '1850-01-01'),
    administrative_sex    text        NOT NULL DEFAULT 'unknown' CHECK (administrative_sex IN ('female', 'male', 'other', 'unknown')),
    email                 text        CHECK (email LIKE '%_@_%'),
    phone                 text        CHECK (length(phone) BETWEEN 3 AND 30),
    deceased_on           date        CHECK (deceased_on >= date_of_birth),
    created_at            timestamptz NOT NULL DEFAULT now(),
    updated_at            timestamptz NOT NULL DEFAULT now()
);

COMMENT ON COLUMN patients.medical_record_number IS 'The hospital''s own number of the patient';

-- The reception's search: by name, then by date of birth.
CREATE INDEX patients_by_name ON patients (lower(family_name), lower(given_name), date_of_birth);
