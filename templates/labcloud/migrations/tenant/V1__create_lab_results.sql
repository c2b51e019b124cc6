-- One row per result a laboratory reports. Schema and rights are labctl's business: names here are unqualified on purpose.
CREATE TABLE lab_results (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_id  text        NOT NULL CHECK (length(patient_id) BETWEEN 1 AND 50),
    test_code   text        NOT NULL CHECK (length(test_code) BETWEEN 1 AND 50),
    -- The laboratory system's own number of the sample: a result that is delivered twice is stored once.
    accession   text        CHECK (length(accession) BETWEEN 1 AND 100),
    status      text        NOT NULL DEFAULT 'final' CHECK (status IN ('preliminary', 'final', 'corrected', 'cancelled')),
    test_data   jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(test_data) = 'object'),
    observed_at timestamptz NOT NULL DEFAULT now(),
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (accession, test_code)
);

COMMENT ON TABLE lab_results IS 'Results of laboratory tests, one row each';
COMMENT ON COLUMN lab_results.patient_id IS 'The laboratory''s number of the patient';
COMMENT ON COLUMN lab_results.accession IS 'The laboratory system''s number of the sample; with the test code it makes a delivery idempotent';

-- A patient's results, newest first (the portal's page), and all results of one test in a period (the laboratory's statistics).
CREATE INDEX lab_results_by_patient ON lab_results (patient_id, created_at DESC);
CREATE INDEX lab_results_by_test ON lab_results (test_code, created_at DESC);
-- For containment (`test_data @> '{"test_type": "CBC"}'`) only, which this operator class answers from a smaller index.
CREATE INDEX lab_results_by_data ON lab_results USING gin (test_data jsonb_path_ops);
