-- Kinds of prompt that grow, in place of clusters fitted now and then. In contributions `cluster_epoch` is the kind's
-- generation and `cluster` its id, as in decisions; `assigned` is the request's place among all assignments. Rows of before
-- this migration have neither `cluster` nor `assigned`. The table centroids stays: a rebuild of an old history reads it.
ALTER TABLE contributions ADD COLUMN cluster integer;
ALTER TABLE contributions ADD COLUMN assigned bigint;

ALTER TABLE decisions ADD COLUMN kind_size bigint;
ALTER TABLE decisions ADD COLUMN kind_requests double precision;
ALTER TABLE decisions ADD COLUMN kind_labels double precision;
ALTER TABLE decisions ADD COLUMN nearness double precision;
ALTER TABLE decisions ADD COLUMN examples text[] NOT NULL DEFAULT '{}';
ALTER TABLE decisions ADD COLUMN rating_sds double precision[];

CREATE INDEX contributions_by_assignment ON contributions (assigned) WHERE assigned IS NOT NULL;

CREATE TABLE kinds (
    place bigint PRIMARY KEY,
    generation integer NOT NULL,
    embedding_model text NOT NULL,
    dimension integer NOT NULL,
    next_id integer NOT NULL,
    ids integer[] NOT NULL,
    counts double precision[] NOT NULL,
    masses double precision[] NOT NULL,
    sums bytea NOT NULL,
    merged json NOT NULL,
    examples json NOT NULL,
    saved_at timestamptz NOT NULL DEFAULT now()
);
