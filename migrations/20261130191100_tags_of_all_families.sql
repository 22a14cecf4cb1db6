-- Nothing looks for tags in all families: the index before this one does. By a file of its own, as a coordinator of Citus sends
-- the text that a change of an index stands in to its workers as one statement.

DROP INDEX IF EXISTS runs_tags_idx;
