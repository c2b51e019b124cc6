CREATE TABLE appointments (
    clinic text NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    patient bigint NOT NULL,
    fee text NOT NULL REFERENCES fee_codes,
    PRIMARY KEY (clinic, id),
    FOREIGN KEY (clinic, patient) REFERENCES patients (tenant_id, id)
);
CREATE INDEX appointments_by_patient ON appointments (clinic, patient);

CREATE FUNCTION patients_of_today() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM patients';
