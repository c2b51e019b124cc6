CREATE TABLE fee_codes (
    code text PRIMARY KEY,
    cents integer NOT NULL CHECK (cents >= 0)
);
INSERT INTO fee_codes VALUES ('99213', 9000), ('99214', 13000);

CREATE TABLE patients (
    tenant_id text NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
