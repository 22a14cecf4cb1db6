-- A run that is sent again without its pattern keeps the stored one only where its new sparsity is that of the pattern. Before,
-- a run of 2:4 that was sent again as dense stayed one of 2:4.

CREATE OR REPLACE FUNCTION pattern_contradicts(pattern text, sparsity double precision) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN abs(1 - split_part(pattern, ':', 1)::float8 / split_part(pattern, ':', 2)::float8 - sparsity) > 0.02;

COMMENT ON FUNCTION pattern_contradicts IS 'Whether a sparsity is further than .02 from that of a pattern n:m, which keeps n of m weights: such a run does not keep a stored pattern.';
