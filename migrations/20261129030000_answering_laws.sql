-- The one place that says which law answers for a family: the pinned one, else the newest fit, else the newest
-- published one. A what-if answers nobody who does not name it.
--
-- A family without laws has no row. A row is found by the family's id or name through their indexes.
CREATE VIEW answering_laws AS
SELECT families.id AS family_id, families.name AS family, answering.id AS law_id
FROM families
    CROSS JOIN LATERAL (
        SELECT laws.id
        FROM laws
        WHERE laws.family_id = families.id AND NOT laws.what_if
        ORDER BY laws.id IS NOT DISTINCT FROM families.pinned_law_id DESC, laws.source = 'fit' DESC,
            laws.version DESC
        LIMIT 1
    ) AS answering;

COMMENT ON VIEW answering_laws IS 'Which law answers for each family.';
