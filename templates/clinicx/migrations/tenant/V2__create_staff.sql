-- Who works in the clinic, and logs in to the application.
CREATE TABLE staff (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The user's `sub` in the user pool; none until the first login.
    identity_sub uuid        UNIQUE,
    email        text        NOT NULL CHECK (email LIKE '%_@_%'),
    given_name   text        NOT NULL CHECK (given_name <> ''),
    family_name  text        NOT NULL CHECK (family_name <> ''),
    role         text        NOT NULL CHECK (role IN ('physician', 'dentist', 'hygienist', 'nurse', 'reception', 'administration')),
    active       boolean     NOT NULL DEFAULT true,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE staff IS 'Staff of the clinic';

-- One account for one address, however it is written.
CREATE UNIQUE INDEX staff_by_email ON staff (lower(email));

CREATE TRIGGER staff_touched BEFORE UPDATE ON staff FOR EACH ROW EXECUTE FUNCTION touch_row();
