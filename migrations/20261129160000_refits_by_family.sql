-- Lists go from the newest refit of a family backwards; deleting a family needs no index of its own beside it.

CREATE INDEX refits_family_id_id_idx ON refits (family_id, id DESC);

DROP INDEX refits_family_id_idx;
