CREATE TABLE patients (
    tenant_id     text        NOT NULL,
    id            bigint      GENERATED ALWAYS AS IDENTITY,
    record_number text        NOT NULL CHECK (length(record_number) BETWEEN 1 AND 50),
    given_name    text        NOT NULL CHECK (given_name <> ''),
    family_name   text        NOT NULL CHECK (family_name <> ''),
    date_of_birth date        NOT NULL CHECK (date_of_birth > DATE '1850-01-01'),
    sex           text        NOT NULL DEFAULT 'unknown' CHECK (sex IN ('female', 'male', 'other', 'unknown')),
    email         text        CHECK (email LIKE '%_@_%'),
    phone         text        CHECK (length(phone) BETWEEN 3 AND 30),
    archived_at   timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, record_number)
);

CREATE TRIGGER patients_touched BEFORE UPDATE ON patients FOR EACH ROW EXECUTE FUNCTION touch_row();

CREATE INDEX patients_by_name ON patients (tenant_id, lower(family_name), lower(given_name), date_of_birth);
CREATE INDEX patients_by_email ON patients (tenant_id, lower(email)) WHERE email IS NOT NULL;

CREATE TABLE staff (
    tenant_id    text        NOT NULL,
    id           bigint      GENERATED ALWAYS AS IDENTITY,
    -- The user's `sub` in the user pool; none until the first login.
    identity_sub uuid,
    email        text        NOT NULL CHECK (email LIKE '%_@_%'),
    given_name   text        NOT NULL CHECK (given_name <> ''),
    family_name  text        NOT NULL CHECK (family_name <> ''),
    role         text        NOT NULL CHECK (role IN ('physician', 'dentist', 'hygienist', 'nurse', 'reception', 'administration')),
    active       boolean     NOT NULL DEFAULT true,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, identity_sub)
);

CREATE UNIQUE INDEX staff_by_email ON staff (tenant_id, lower(email));

CREATE TRIGGER staff_touched BEFORE UPDATE ON staff FOR EACH ROW EXECUTE FUNCTION touch_row();
