-- Money is a decimal number with its currency; what has more decimals than the currency is refused rather than rounded in silence.
CREATE TABLE invoices (
    tenant_id      text        NOT NULL,
    id             bigint      GENERATED ALWAYS AS IDENTITY,
    number         text        NOT NULL CHECK (length(number) BETWEEN 1 AND 50),
    patient_id     bigint      NOT NULL,
    appointment_id bigint,
    currency       text        NOT NULL REFERENCES currencies (code),
    total          numeric     NOT NULL CHECK (total >= 0 AND total < 1e12),
    -- The sum of the payments that were not voided. Payments change it, and nothing else.
    paid           numeric     NOT NULL DEFAULT 0,
    status         text        NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'issued', 'void')),
    issued_on      date,
    due_on         date,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, number),
    UNIQUE (tenant_id, id, patient_id),
    UNIQUE (tenant_id, id, currency),
    FOREIGN KEY (tenant_id, patient_id) REFERENCES patients (tenant_id, id) ON DELETE RESTRICT,
    -- The appointment is one of this patient's. Should it be deleted, the invoice stays.
    FOREIGN KEY (tenant_id, appointment_id, patient_id) REFERENCES appointments (tenant_id, id, patient_id) ON DELETE SET NULL (appointment_id),
    CONSTRAINT invoices_not_overpaid CHECK (paid BETWEEN 0 AND total),
    CONSTRAINT invoices_paid_when_issued CHECK (status = 'issued' OR paid = 0),
    CHECK (status = 'draft' OR issued_on IS NOT NULL),
    CHECK (due_on >= issued_on)
);

CREATE TABLE payments (
    tenant_id   text        NOT NULL,
    id          bigint      GENERATED ALWAYS AS IDENTITY,
    invoice_id  bigint      NOT NULL,
    currency    text        NOT NULL,
    amount      numeric     NOT NULL CHECK (amount > 0 AND amount < 1e12),
    method      text        NOT NULL CHECK (method IN ('cash', 'card', 'transfer', 'insurance')),
    -- The bank's or terminal's own number: a payment that is reported twice is stored once.
    reference   text        CHECK (length(reference) BETWEEN 1 AND 100),
    received_at timestamptz NOT NULL DEFAULT now(),
    voided_at   timestamptz CHECK (voided_at >= received_at),
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, reference),
    FOREIGN KEY (tenant_id, invoice_id, currency) REFERENCES invoices (tenant_id, id, currency) ON DELETE RESTRICT
);

CREATE TRIGGER invoices_touched BEFORE UPDATE ON invoices FOR EACH ROW EXECUTE FUNCTION touch_row();

CREATE INDEX invoices_by_patient ON invoices (tenant_id, patient_id, issued_on DESC);
CREATE INDEX invoices_by_appointment ON invoices (tenant_id, appointment_id, patient_id) WHERE appointment_id IS NOT NULL;
CREATE INDEX invoices_open ON invoices (tenant_id, due_on) WHERE status = 'issued' AND paid < total;
CREATE INDEX payments_by_invoice ON payments (tenant_id, invoice_id, currency);
CREATE INDEX payments_by_day ON payments (tenant_id, received_at);

-- The currency's decimals stand in a table, which no CHECK may ask. The schema is asked of the trigger: its name is the database's matter.
CREATE FUNCTION check_decimals() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    amount numeric := (to_jsonb(NEW) ->> TG_ARGV[0])::numeric;
    units integer;
BEGIN
    EXECUTE format('SELECT minor_units FROM %I.currencies WHERE code = $1', TG_TABLE_SCHEMA) INTO units USING NEW.currency;
    IF amount <> round(amount, units) THEN
        RAISE EXCEPTION '% has more decimals than %', amount, NEW.currency USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END;
$$;

CREATE TRIGGER invoices_decimals BEFORE INSERT OR UPDATE OF total, currency ON invoices FOR EACH ROW EXECUTE FUNCTION check_decimals('total');
CREATE TRIGGER payments_decimals BEFORE INSERT OR UPDATE OF amount, currency ON payments FOR EACH ROW EXECUTE FUNCTION check_decimals('amount');

-- The sum stands on the invoice, whose row every payment has to change: two at once come one after the other, and the second sees what the
-- first has left. It runs as whoever pays, who sees its own tenant's invoices alone.
CREATE FUNCTION count_payment() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    change text := format('UPDATE %I.invoices SET paid = paid + $1 WHERE tenant_id = $2 AND id = $3', TG_TABLE_SCHEMA);
BEGIN
    IF TG_OP <> 'INSERT' AND OLD.voided_at IS NULL THEN
        EXECUTE change USING -OLD.amount, OLD.tenant_id, OLD.invoice_id;
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.voided_at IS NULL THEN
        EXECUTE change USING NEW.amount, NEW.tenant_id, NEW.invoice_id;
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
