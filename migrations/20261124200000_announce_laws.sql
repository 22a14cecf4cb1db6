-- Services keep the law that answers for a family in memory; these triggers tell all of them when it
-- may be another one. The payload is the family's name. An announcement arrives when its transaction
-- commits, and not at all if it does not.

CREATE FUNCTION announce_law() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('sparsity_planner_laws', name) FROM families WHERE id = NEW.family_id;
    RETURN NULL;
END
$$;

CREATE FUNCTION announce_family() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('sparsity_planner_laws', OLD.name);
    RETURN NULL;
END
$$;

CREATE TRIGGER laws_announce_insert AFTER INSERT ON laws
    FOR EACH ROW EXECUTE FUNCTION announce_law();

CREATE TRIGGER families_announce_pin AFTER UPDATE OF pinned_law_id, name ON families
    FOR EACH ROW EXECUTE FUNCTION announce_family();

CREATE TRIGGER families_announce_delete AFTER DELETE ON families
    FOR EACH ROW EXECUTE FUNCTION announce_family();

COMMENT ON FUNCTION announce_law() IS 'Announces the family of a new law.';
COMMENT ON FUNCTION announce_family() IS 'Announces a family that changed its law or went.';
