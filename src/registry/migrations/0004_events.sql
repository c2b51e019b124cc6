-- Lifecycle events: an outbox, and what has been delivered of it to whom. An event is written in the transaction of what it tells of, with
-- one delivery for each receiver of the profile in force: both are on record, or neither.

CREATE TABLE labctl.events (
    id        uuid PRIMARY KEY,
    tenant    text NOT NULL REFERENCES labctl.tenants (id),
    sequence  bigint NOT NULL,
    type      text NOT NULL CHECK (type ~ '^[a-zA-Z]+\.(started|succeeded|failed)$'),
    at        timestamptz NOT NULL,
    operation bigint NOT NULL REFERENCES labctl.operations (number),
    body      jsonb NOT NULL,
    UNIQUE (tenant, sequence)
);
CREATE INDEX events_operation ON labctl.events (operation, sequence);
CREATE INDEX events_at ON labctl.events (at);
COMMENT ON COLUMN labctl.events.sequence IS 'From 1 for each tenant, without gaps.';
COMMENT ON COLUMN labctl.events.body IS 'The CloudEvent as receivers get it. No secrets.';
CREATE TRIGGER immutable BEFORE UPDATE ON labctl.events FOR EACH ROW EXECUTE FUNCTION labctl.refuse_change();

CREATE TABLE labctl.deliveries (
    event         uuid NOT NULL REFERENCES labctl.events (id) ON DELETE CASCADE,
    receiver      text NOT NULL,
    tenant        text NOT NULL,
    sequence      bigint NOT NULL,
    status        text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'dead')),
    attempts      integer NOT NULL DEFAULT 0,
    next_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    tried_at      timestamptz,
    claimed_until timestamptz,
    delivered_at  timestamptz,
    error         text,
    PRIMARY KEY (event, receiver)
);
CREATE INDEX deliveries_due ON labctl.deliveries (receiver, tenant, sequence) WHERE status <> 'delivered';
COMMENT ON COLUMN labctl.deliveries.claimed_until IS 'A deliverer is sending it; if that one dies, another may send it again from then on.';

-- When a step came into the plan of the operation's last attempt. Unknown of what was planned before this column was.
ALTER TABLE labctl.steps ADD COLUMN planned_at timestamptz;
ALTER TABLE labctl.steps ALTER COLUMN planned_at SET DEFAULT clock_timestamp();
