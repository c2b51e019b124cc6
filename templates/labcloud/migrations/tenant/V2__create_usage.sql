-- What the laboratory used, by month and meter. Each meter counts for itself, and by upsert: a month's first event is not lost.
CREATE TABLE usage_events (
    -- Chosen by whoever reports it: the same event, sent again, is the same row.
    event_id    uuid        PRIMARY KEY,
    meter       text        NOT NULL CHECK (meter IN ('results_processed', 'api_calls', 'storage_bytes')),
    quantity    bigint      NOT NULL CHECK (quantity >= 0),
    occurred_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE usage_events IS 'Metered events, each once; monthly totals are in usage_by_month';

CREATE INDEX usage_events_by_time ON usage_events (occurred_at, meter);

CREATE TABLE usage_by_month (
    month             date        PRIMARY KEY CHECK (extract(day FROM month) = 1),
    results_processed bigint      NOT NULL DEFAULT 0 CHECK (results_processed >= 0),
    api_calls         bigint      NOT NULL DEFAULT 0 CHECK (api_calls >= 0),
    storage_bytes     bigint      NOT NULL DEFAULT 0 CHECK (storage_bytes >= 0),
    updated_at        timestamptz NOT NULL DEFAULT now()
);

COMMENT ON COLUMN usage_by_month.month IS 'First day of the month, UTC';
COMMENT ON COLUMN usage_by_month.storage_bytes IS 'The month''s highest reading, not a sum';

-- Event and total in one statement: counted once, or not at all. Results and calls add up; storage is a level, of which the highest stays.
CREATE FUNCTION record_usage(event uuid, meter_name text, amount bigint, happened_at timestamptz DEFAULT now()) RETURNS boolean
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    WITH recorded AS (
        INSERT INTO usage_events (event_id, meter, quantity, occurred_at) VALUES (event, meter_name, amount, happened_at)
        ON CONFLICT (event_id) DO NOTHING
        RETURNING meter, quantity, date_trunc('month', occurred_at AT TIME ZONE 'UTC')::date AS month
    ), counted AS (
        INSERT INTO usage_by_month AS total (month, results_processed, api_calls, storage_bytes)
        SELECT month,
               CASE meter WHEN 'results_processed' THEN quantity ELSE 0 END,
               CASE meter WHEN 'api_calls' THEN quantity ELSE 0 END,
               CASE meter WHEN 'storage_bytes' THEN quantity ELSE 0 END
          FROM recorded
        ON CONFLICT (month) DO UPDATE SET
               results_processed = total.results_processed + excluded.results_processed,
               api_calls         = total.api_calls + excluded.api_calls,
               storage_bytes     = greatest(total.storage_bytes, excluded.storage_bytes),
               updated_at        = now()
        RETURNING 1
    )
    SELECT EXISTS (SELECT FROM counted);
END;

COMMENT ON FUNCTION record_usage(uuid, text, bigint, timestamptz) IS 'Records one metered event; false when it was recorded before';
