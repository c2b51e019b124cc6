-- What the teeth of a patient are like, one row each, by the numbers of ISO 3950 (FDI): quadrant, then tooth. Quadrants 1–4 have eight permanent
-- teeth, 5–8 five deciduous ones.
CREATE TABLE dental_charts (
    patient_id  bigint      NOT NULL REFERENCES patients (id) ON DELETE RESTRICT,
    tooth       smallint    NOT NULL,
    condition   text        NOT NULL CHECK (condition IN ('sound', 'caries', 'filled', 'crowned', 'root_canal', 'implant', 'missing')),
    note        text        NOT NULL DEFAULT '' CHECK (length(note) <= 1000),
    examined_by bigint      NOT NULL REFERENCES staff (id) ON DELETE RESTRICT,
    examined_at timestamptz NOT NULL DEFAULT now(),
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (patient_id, tooth),
    CONSTRAINT dental_charts_tooth_exists CHECK (
        tooth / 10 BETWEEN 1 AND 4 AND tooth % 10 BETWEEN 1 AND 8 OR tooth / 10 BETWEEN 5 AND 8 AND tooth % 10 BETWEEN 1 AND 5)
);

COMMENT ON TABLE dental_charts IS 'The present state of each tooth of a patient';
COMMENT ON COLUMN dental_charts.tooth IS 'ISO 3950: 11–18, 21–28, 31–38, 41–48; deciduous 51–55, 61–65, 71–75, 81–85';

CREATE TRIGGER dental_charts_touched BEFORE UPDATE ON dental_charts FOR EACH ROW EXECUTE FUNCTION touch_row();

CREATE INDEX dental_charts_by_examiner ON dental_charts (examined_by);
