-- A run that is sent again without its pattern keeps the pattern that is stored. The two functions let the statement
-- that merges runs refuse to keep one which contradicts the new sparsity. Only adds.

CREATE FUNCTION pattern_contradicts(pattern text, sparsity double precision) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN abs(split_part(pattern, ':', 1)::float8 / split_part(pattern, ':', 2)::float8 - sparsity) <= 0.02
    AND abs(1 - split_part(pattern, ':', 1)::float8 / split_part(pattern, ':', 2)::float8 - sparsity) > 0.02;

COMMENT ON FUNCTION pattern_contradicts IS 'Whether a pattern n:m keeps as many as the sparsity says are zero, and not the other way round: it counts zeros where patterns here count what is kept.';

CREATE FUNCTION kept_pattern(pattern text, sparsity double precision) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
BEGIN
    IF pattern_contradicts(pattern, sparsity) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'integrity_constraint_violation',
            MESSAGE = 'a run would keep a pattern that its sparsity contradicts',
            CONSTRAINT = 'runs_kept_pattern';
    END IF;
    RETURN pattern;
END
$$;

COMMENT ON FUNCTION kept_pattern IS 'The pattern of a run that is sent again without one; a violation of runs_kept_pattern where its sparsity contradicts it.';
