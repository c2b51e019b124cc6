-- What the trials of one database share. Tables of tenants' rows have `tenant_id`; labctl fills it in, and shows each tenant its own rows alone.
-- Every key leads with it: no key tells of another tenant's values, and no foreign key can lead to another tenant's row.
CREATE TABLE currencies (
    code        text    PRIMARY KEY CHECK (code ~ '^[A-Z]{3}$'),
    minor_units integer NOT NULL DEFAULT 2 CHECK (minor_units BETWEEN 0 AND 4)
);

COMMENT ON TABLE currencies IS 'Currencies and their decimals, by ISO 4217: the same for all tenants';

INSERT INTO currencies (code) VALUES
    ('AUD'), ('BRL'), ('CAD'), ('CHF'), ('CNY'), ('CZK'), ('DKK'), ('EUR'), ('GBP'), ('HKD'), ('HUF'), ('ILS'), ('INR'), ('MXN'), ('NOK'), ('NZD'), ('PLN'), ('SEK'),
    ('SGD'), ('TRY'), ('USD'), ('ZAR');
INSERT INTO currencies VALUES
    ('BHD', 3), ('IQD', 3), ('JOD', 3), ('KWD', 3), ('LYD', 3), ('OMR', 3), ('TND', 3),
    ('BIF', 0), ('CLP', 0), ('DJF', 0), ('GNF', 0), ('ISK', 0), ('JPY', 0), ('KMF', 0), ('KRW', 0), ('PYG', 0), ('RWF', 0), ('UGX', 0), ('VND', 0), ('VUV', 0), ('XAF', 0),
    ('XOF', 0), ('XPF', 0);

-- For every table with `updated_at`: an application that forgets it cannot leave it behind.
CREATE FUNCTION touch_row() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END;
$$;
