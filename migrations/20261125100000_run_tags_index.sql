-- Runs are looked up by their tags, in a family or all families together as many as they are.
CREATE INDEX runs_tags_idx ON runs USING gin (tags jsonb_path_ops);
