-- Scores of sources other than users, and evaluations. Users' ratings stay in feedback: a new key of a large table would
-- hold up the writers. In contributions `kind` may be `evaluation`, or `feedback:<source>`.
CREATE TABLE scores (
    request_id uuid NOT NULL,
    source text NOT NULL,
    revision integer NOT NULL,
    score double precision,
    weight double precision NOT NULL,
    feedback_text text,
    rated_s double precision NOT NULL,
    rated_at timestamptz GENERATED ALWAYS AS (to_timestamp(rated_s)) STORED,
    PRIMARY KEY (request_id, source, revision)
);

CREATE TABLE evaluations (
    request_id uuid PRIMARY KEY,
    judge text NOT NULL,
    rubric text NOT NULL,
    evaluated_s double precision NOT NULL,
    evaluated_at timestamptz GENERATED ALWAYS AS (to_timestamp(evaluated_s)) STORED,
    judge_cost_usd double precision,
    error text,
    arms text[] NOT NULL,
    served boolean[] NOT NULL,
    scores double precision[] NOT NULL,
    errors text[] NOT NULL,
    costs_usd double precision[] NOT NULL,
    latencies_s double precision[] NOT NULL,
    prompt_tokens bigint[] NOT NULL,
    completion_tokens bigint[] NOT NULL
);
