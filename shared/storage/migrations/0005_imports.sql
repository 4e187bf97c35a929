-- Imported scores: own prompts, with scores that the answers of several models got outside of the router. `assigned` is the
-- prompt's place among all assignments to kinds of prompt, as in contributions.
CREATE TABLE imports (
    id uuid PRIMARY KEY,
    source text NOT NULL,
    created_s double precision NOT NULL,
    created_at timestamptz GENERATED ALWAYS AS (to_timestamp(created_s)) STORED,
    weight double precision NOT NULL,
    answers jsonb NOT NULL,
    traits text[] NOT NULL,
    embedding_model text NOT NULL,
    vector bytea,
    cluster_epoch integer,
    cluster integer,
    assigned bigint
);

CREATE INDEX imports_by_time ON imports (created_s, id);
CREATE INDEX imports_by_assignment ON imports (assigned) WHERE assigned IS NOT NULL;
