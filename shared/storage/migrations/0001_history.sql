-- The history. docs/data-model.md explains every column; times are Unix seconds, exact as they were measured, and
-- beside them a timestamp made of them, for people. No foreign key from feedback: a rating may come before its request.

CREATE TABLE requests (
    id uuid PRIMARY KEY,
    public_id text NOT NULL,
    owner text NOT NULL,
    created_s double precision NOT NULL,
    created_at timestamptz GENERATED ALWAYS AS (to_timestamp(created_s)) STORED,
    requested_model text,
    embedding_model text,
    session text,
    vector bytea,
    prompt text,
    more jsonb
);

CREATE INDEX requests_by_time ON requests (created_s, id);
CREATE INDEX requests_by_public_id ON requests (owner, public_id);

CREATE TABLE decisions (
    request_id uuid PRIMARY KEY REFERENCES requests ON DELETE CASCADE,
    kind text NOT NULL,
    ranked text[] NOT NULL,
    propensity double precision NOT NULL,
    confidence double precision NOT NULL,
    reason text NOT NULL,
    policy text NOT NULL,
    snapshot text NOT NULL,
    settings_hash text NOT NULL,
    exploration text NOT NULL,
    session_kept boolean NOT NULL,
    shadow jsonb,
    cluster_epoch integer,
    cluster integer,
    degraded text[] NOT NULL,
    quality_weight double precision,
    latency_weight double precision,
    cost_weight double precision,
    arms text[] NOT NULL,
    propensities double precision[] NOT NULL,
    qualities double precision[] NOT NULL,
    quality_sds double precision[] NOT NULL,
    draw_sds double precision[] NOT NULL,
    base_qualities double precision[] NOT NULL,
    local_shifts double precision[] NOT NULL,
    costs_usd double precision[] NOT NULL,
    latencies_s double precision[] NOT NULL,
    cost_terms double precision[] NOT NULL,
    speed_terms double precision[] NOT NULL,
    utilities double precision[] NOT NULL,
    draws double precision[] NOT NULL,
    labels double precision[] NOT NULL,
    neighbour_ids text[] NOT NULL,
    neighbour_arms text[] NOT NULL,
    neighbour_scores double precision[] NOT NULL,
    neighbour_similarities double precision[] NOT NULL,
    neighbour_weights double precision[] NOT NULL,
    more jsonb
);

CREATE TABLE outcomes (
    request_id uuid PRIMARY KEY REFERENCES requests ON DELETE CASCADE,
    status text NOT NULL,
    arm text NOT NULL,
    cost_usd double precision NOT NULL,
    cost_source text NOT NULL,
    prompt_tokens bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    overhead_s double precision NOT NULL,
    upstream_s double precision NOT NULL,
    first_token_s double precision,
    streamed boolean NOT NULL,
    more jsonb
);

CREATE TABLE attempts (
    request_id uuid NOT NULL REFERENCES requests ON DELETE CASCADE,
    number integer NOT NULL,
    arm text NOT NULL,
    error text,
    duration_s double precision NOT NULL,
    spent boolean NOT NULL,
    cost_usd double precision NOT NULL,
    more jsonb,
    PRIMARY KEY (request_id, number)
);

CREATE TABLE feedback (
    request_id uuid NOT NULL,
    revision integer NOT NULL,
    score double precision,
    feedback_text text,
    rated_s double precision NOT NULL,
    rated_at timestamptz GENERATED ALWAYS AS (to_timestamp(rated_s)) STORED,
    PRIMARY KEY (request_id, revision)
);

CREATE TABLE contributions (
    request_id uuid NOT NULL,
    kind text NOT NULL,
    revision integer NOT NULL,
    cluster_epoch integer NOT NULL,
    sums json NOT NULL,
    PRIMARY KEY (request_id, kind)
);

CREATE TABLE settings (
    hash text PRIMARY KEY,
    content jsonb NOT NULL,
    first_used_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE centroids (
    epoch integer PRIMARY KEY,
    dimension integer NOT NULL,
    centres bytea NOT NULL,
    fitted_at timestamptz NOT NULL DEFAULT now()
);
