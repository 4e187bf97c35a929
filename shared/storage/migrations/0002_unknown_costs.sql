-- An unknown cost is NULL. Rows of before this migration hold 0 instead, with the cost_source `unknown`; they stay as they
-- are, for rewriting a large table would hold up the writers.
ALTER TABLE outcomes ALTER COLUMN cost_usd DROP NOT NULL;
ALTER TABLE attempts ALTER COLUMN cost_usd DROP NOT NULL;
