-- What a practice does to teeth, and what it has done to whose.
CREATE TABLE dental_procedures (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code       text        NOT NULL CHECK (length(code) BETWEEN 1 AND 20),
    name       text        NOT NULL CHECK (name <> ''),
    -- A filling is one tooth's, cleaning is the whole mouth's.
    per_tooth  boolean     NOT NULL,
    fee        numeric     NOT NULL CHECK (fee >= 0 AND fee < 1e9 AND fee = round(fee, minor_units(currency))),
    currency   text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    active     boolean     NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (id, per_tooth)
);

COMMENT ON TABLE dental_procedures IS 'The practice''s list of procedures and fees';

CREATE UNIQUE INDEX dental_procedures_by_code ON dental_procedures (lower(code));

CREATE TRIGGER dental_procedures_touched BEFORE UPDATE ON dental_procedures FOR EACH ROW EXECUTE FUNCTION touch_row();

CREATE TABLE treatments (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_id     bigint      NOT NULL REFERENCES patients (id) ON DELETE RESTRICT,
    staff_id       bigint      NOT NULL REFERENCES staff (id) ON DELETE RESTRICT,
    procedure_id   bigint      NOT NULL,
    per_tooth      boolean     NOT NULL,
    tooth          smallint,
    -- The faces of the tooth: mesial, distal, occlusal, buccal, lingual, incisal.
    surfaces       text        NOT NULL DEFAULT '' CHECK (surfaces ~ '^[MDOBLI]{0,6}$'),
    appointment_id bigint,
    invoice_id     bigint,
    status         text        NOT NULL DEFAULT 'planned' CHECK (status IN ('planned', 'completed', 'cancelled')),
    completed_at   timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    -- A tooth is said where the procedure is one tooth's, and only there; it is on the patient's chart.
    FOREIGN KEY (procedure_id, per_tooth) REFERENCES dental_procedures (id, per_tooth) ON DELETE RESTRICT,
    FOREIGN KEY (patient_id, tooth) REFERENCES dental_charts (patient_id, tooth) ON DELETE RESTRICT,
    -- Appointment and invoice are this patient's.
    FOREIGN KEY (appointment_id, patient_id) REFERENCES appointments (id, patient_id) ON DELETE SET NULL (appointment_id),
    FOREIGN KEY (invoice_id, patient_id) REFERENCES invoices (id, patient_id) ON DELETE SET NULL (invoice_id),
    CHECK (per_tooth = (tooth IS NOT NULL)),
    CHECK (per_tooth OR surfaces = ''),
    CHECK ((status = 'completed') = (completed_at IS NOT NULL))
);

COMMENT ON TABLE treatments IS 'Procedures planned for and done to patients';

CREATE TRIGGER treatments_touched BEFORE UPDATE ON treatments FOR EACH ROW EXECUTE FUNCTION touch_row();

CREATE INDEX treatments_by_patient ON treatments (patient_id, tooth);
CREATE INDEX treatments_by_staff ON treatments (staff_id);
CREATE INDEX treatments_by_procedure ON treatments (procedure_id, per_tooth);
CREATE INDEX treatments_by_appointment ON treatments (appointment_id, patient_id) WHERE appointment_id IS NOT NULL;
CREATE INDEX treatments_by_invoice ON treatments (invoice_id, patient_id) WHERE invoice_id IS NOT NULL;
