-- Tags are looked for within a family, and the index over them knew no families: what it found in all of them was looked
-- through, so that a question about one family took the longer the more there were of others. This one keeps each tag under
-- its family, in an object of one member, whose operator class goes by whole paths.
--
-- Building it keeps writers of runs waiting, about 10 s for a million. Whoever cannot wait builds it before, by the same
-- statement with CONCURRENTLY.

CREATE INDEX IF NOT EXISTS runs_family_tags_idx
ON runs USING gin (jsonb_set('{}'::jsonb, ARRAY[family_id::text], tags) jsonb_path_ops);
