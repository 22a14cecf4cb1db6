-- Citus says that its coordinator is none as long as it knows no other node. There nothing was announced, and no service
-- started. The number of the own node's group says what is meant: 0 is the coordinator's.

CREATE OR REPLACE FUNCTION announces_here() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    here boolean;
BEGIN
    -- The table is Citus'. Without it there is one node.
    IF to_regclass('pg_dist_local_group') IS NULL THEN
        RETURN true;
    END IF;
    EXECUTE 'SELECT coalesce(min(groupid) = 0, true) FROM pg_dist_local_group' INTO here;
    RETURN here;
END
$$;
