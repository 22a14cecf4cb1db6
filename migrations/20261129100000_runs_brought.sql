-- Which of a run's optional fields its latest submission brought. A submission leaves those that it does not bring
-- as they are stored: the statement that merges reads this from the row that it proposes.

ALTER TABLE runs
    ADD COLUMN brought smallint NOT NULL DEFAULT 31,
    ADD CONSTRAINT runs_brought_check CHECK (brought BETWEEN 0 AND 31);

COMMENT ON COLUMN runs.brought IS 'Bits of the optional fields that the submission which created the run brought: 1 start, 2 pretraining_data, 4 pattern, 8 tags, 16 exclusion.';
