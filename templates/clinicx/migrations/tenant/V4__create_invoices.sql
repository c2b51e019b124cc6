-- What patients owe and have paid. Money is a decimal number with its currency; what has more decimals than the currency is refused, where a
-- `numeric(12, 2)` would round it in silence.
CREATE FUNCTION minor_units(currency text) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE WHEN currency IN ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') THEN 3
                WHEN currency IN ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'VND', 'VUV', 'XAF', 'XOF', 'XPF') THEN 0
                ELSE 2 END;
END;

COMMENT ON FUNCTION minor_units(text) IS 'Decimals of a currency, by ISO 4217';

CREATE TABLE invoices (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number         text        NOT NULL UNIQUE CHECK (length(number) BETWEEN 1 AND 50),
    patient_id     bigint      NOT NULL REFERENCES patients (id) ON DELETE RESTRICT,
    appointment_id bigint,
    currency       text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    total          numeric     NOT NULL CHECK (total >= 0 AND total < 1e12 AND total = round(total, minor_units(currency))),
    -- The sum of the payments that were not voided. Payments change it, and nothing else.
    paid           numeric     NOT NULL DEFAULT 0,
    status         text        NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'issued', 'void')),
    issued_on      date,
    due_on         date,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (id, patient_id),
    -- A payment refers to an invoice together with its currency.
    UNIQUE (id, currency),
    -- The appointment is one of this patient's. Should it be deleted, the invoice stays.
    FOREIGN KEY (appointment_id, patient_id) REFERENCES appointments (id, patient_id) ON DELETE SET NULL (appointment_id),
    CONSTRAINT invoices_not_overpaid CHECK (paid BETWEEN 0 AND total),
    CONSTRAINT invoices_paid_when_issued CHECK (status = 'issued' OR paid = 0),
    CHECK (status = 'draft' OR issued_on IS NOT NULL),
    CHECK (due_on >= issued_on)
);

COMMENT ON TABLE invoices IS 'Invoices to patients';

CREATE TABLE payments (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    invoice_id  bigint      NOT NULL,
    currency    text        NOT NULL,
    amount      numeric     NOT NULL CHECK (amount > 0 AND amount < 1e12 AND amount = round(amount, minor_units(currency))),
    method      text        NOT NULL CHECK (method IN ('cash', 'card', 'transfer', 'insurance')),
    -- The bank's or terminal's own number: a payment that is reported twice is stored once.
    reference   text        UNIQUE CHECK (length(reference) BETWEEN 1 AND 100),
    received_at timestamptz NOT NULL DEFAULT now(),
    -- A payment that came to nothing, or was given back.
    voided_at   timestamptz CHECK (voided_at >= received_at),
    created_at  timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (invoice_id, currency) REFERENCES invoices (id, currency) ON DELETE RESTRICT
);

COMMENT ON TABLE payments IS 'Payments on invoices; together never more than the invoice';

CREATE TRIGGER invoices_touched BEFORE UPDATE ON invoices FOR EACH ROW EXECUTE FUNCTION touch_row();

CREATE INDEX invoices_by_patient ON invoices (patient_id, issued_on DESC);
CREATE INDEX invoices_by_appointment ON invoices (appointment_id, patient_id) WHERE appointment_id IS NOT NULL;
-- Who is to be reminded.
CREATE INDEX invoices_open ON invoices (due_on) WHERE status = 'issued' AND paid < total;
CREATE INDEX payments_by_invoice ON payments (invoice_id, currency);
CREATE INDEX payments_by_day ON payments (received_at);

-- The sum stands on the invoice, whose row every payment has to change: two at once come one after the other, at every level of isolation,
-- and the second sees what the first has left. The schema is asked of the trigger, because a renamed schema would be another in the
-- function's text.
CREATE FUNCTION count_payment() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    change text := format('UPDATE %I.invoices SET paid = paid + $1 WHERE id = $2', TG_TABLE_SCHEMA);
BEGIN
    IF TG_OP <> 'INSERT' AND OLD.voided_at IS NULL THEN
        EXECUTE change USING -OLD.amount, OLD.invoice_id;
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.voided_at IS NULL THEN
        EXECUTE change USING NEW.amount, NEW.invoice_id;
    END IF;
    RETURN NULL;
END;
$$;

CREATE TRIGGER payments_counted AFTER INSERT OR UPDATE OR DELETE ON payments FOR EACH ROW EXECUTE FUNCTION count_payment();

CREATE FUNCTION refuse_paid() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'what is paid on an invoice follows from its payments' USING ERRCODE = 'integrity_constraint_violation';
END;
$$;

CREATE TRIGGER invoices_begin_unpaid BEFORE INSERT ON invoices FOR EACH ROW WHEN (NEW.paid <> 0) EXECUTE FUNCTION refuse_paid();
-- Depth 0 is a statement of the application's, depth 1 the payment's trigger.
CREATE TRIGGER invoices_paid_follows BEFORE UPDATE ON invoices FOR EACH ROW
    WHEN (NEW.paid IS DISTINCT FROM OLD.paid AND pg_trigger_depth() = 0) EXECUTE FUNCTION refuse_paid();
