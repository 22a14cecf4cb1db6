-- Where the tables lie on several nodes (Citus), triggers of a table that each of them has run on each. Announcements are
-- heard on the coordinator alone, and a transaction that announces cannot take part in a commit of several nodes.

CREATE FUNCTION announces_here() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    here boolean;
BEGIN
    -- The function is Citus'. Without it there is one node.
    IF to_regproc('citus_is_coordinator') IS NULL THEN
        RETURN true;
    END IF;
    EXECUTE 'SELECT citus_is_coordinator()' INTO here;
    RETURN here;
END
$$;

CREATE OR REPLACE FUNCTION announce_law() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF announces_here() THEN
        PERFORM pg_notify('sparsity_planner_laws', name) FROM families WHERE id = NEW.family_id;
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION announce_family() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF announces_here() THEN
        PERFORM pg_notify('sparsity_planner_laws', OLD.name);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION announce_profile() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF announces_here() THEN
        PERFORM pg_notify('sparsity_planner_profiles', coalesce(OLD.name, NEW.name));
    END IF;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION announces_here() IS 'Whether what triggers announce is heard: not on a worker of Citus.';
