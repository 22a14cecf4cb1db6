-- Services keep the hardware profiles that questions name in memory; this trigger tells all of them when one
-- changes. The payload is the profile's name. An announcement arrives when its transaction commits, and not at
-- all if it does not.

CREATE FUNCTION announce_profile() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('sparsity_planner_profiles', coalesce(OLD.name, NEW.name));
    RETURN NULL;
END
$$;

CREATE TRIGGER hardware_profiles_announce AFTER INSERT OR UPDATE OR DELETE ON hardware_profiles
    FOR EACH ROW EXECUTE FUNCTION announce_profile();
