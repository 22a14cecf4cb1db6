-- A refit may leave out runs to see what they do, without excluding them. Its law is a what-if: it is kept,
-- compared and asked by its version like any other, and is never the one that answers for its family.

ALTER TABLE laws ADD COLUMN what_if boolean NOT NULL
    GENERATED ALWAYS AS (coalesce(jsonb_array_length(options -> 'without'), 0) > 0) STORED;
ALTER TABLE refits ADD COLUMN what_if boolean NOT NULL
    GENERATED ALWAYS AS (coalesce(jsonb_array_length(options -> 'without'), 0) > 0) STORED;

-- A what-if does not wait for, nor stand in for, the refit that makes the family's next law.
DROP INDEX refits_one_queued_per_family_key;
CREATE UNIQUE INDEX refits_one_queued_per_family_key ON refits (family_id, what_if)
    WHERE state = 'queued';

COMMENT ON COLUMN laws.what_if IS 'Whether runs were left out to see what they do: such a law never answers unless it is named.';
COMMENT ON COLUMN refits.what_if IS 'Whether runs are left out to see what they do.';
