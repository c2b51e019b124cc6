-- The people a clinic treats. Schema and rights are labctl's business: names here are unqualified on purpose.

-- For every table with `updated_at`: an application that forgets it cannot leave it behind.
CREATE FUNCTION touch_row() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END;
$$;

CREATE TABLE patients (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    record_number text        NOT NULL UNIQUE CHECK (length(record_number) BETWEEN 1 AND 50),
    given_name    text        NOT NULL CHECK (given_name <> ''),
    family_name   text        NOT NULL CHECK (family_name <> ''),
    date_of_birth date        NOT NULL CHECK (date_of_birth > DATE '1850-01-01'),
    sex           text        NOT NULL DEFAULT 'unknown' CHECK (sex IN ('female', 'male', 'other', 'unknown')),
    email         text        CHECK (email LIKE '%_@_%'),
    phone         text        CHECK (length(phone) BETWEEN 3 AND 30),
    -- Who has left is kept: appointments, invoices and charts refer to them.
    archived_at   timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE patients IS 'Patients of the clinic';
COMMENT ON COLUMN patients.record_number IS 'The clinic''s own number of the patient';

CREATE TRIGGER patients_touched BEFORE UPDATE ON patients FOR EACH ROW EXECUTE FUNCTION touch_row();

-- The reception's search: by name, then by date of birth; or by address, which a family may share.
CREATE INDEX patients_by_name ON patients (lower(family_name), lower(given_name), date_of_birth);
CREATE INDEX patients_by_email ON patients (lower(email)) WHERE email IS NOT NULL;
