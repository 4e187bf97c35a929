"""SQL statements of the history."""

from __future__ import annotations

from psycopg import sql

from shared.storage.postgres_kinds import KINDS_COLUMNS
from shared.storage.postgres_rows import COLUMNS

INSERT = {
    table: sql.SQL(
        "INSERT INTO {table} ({columns}) SELECT {columns} FROM json_populate_recordset(NULL::{table}, %s)"
    ).format(table=sql.Identifier(table), columns=sql.SQL(", ").join(map(sql.Identifier, columns)))
    for table, columns in COLUMNS.items()
}
"""Insertion of many rows, by table. A statement with one JSON text is planned once, and is quicker to write than a list
of arrays for each row."""
ONCE = sql.SQL(" ON CONFLICT DO NOTHING")
_LATER = " DO UPDATE SET score = EXCLUDED.score, feedback_text = EXCLUDED.feedback_text, rated_s = EXCLUDED.rated_s"
AGAIN = {
    # A Redis that lost its last second may assign a revision twice; the later rating counts.
    "feedback": sql.SQL(" ON CONFLICT (request_id, revision)" + _LATER + " WHERE feedback.rated_s < EXCLUDED.rated_s"),
    "scores": sql.SQL(
        " ON CONFLICT (request_id, source, revision)" + _LATER + ", weight = EXCLUDED.weight "
        "WHERE scores.rated_s < EXCLUDED.rated_s"
    ),
    "contributions": sql.SQL(
        " ON CONFLICT (request_id, kind) DO UPDATE SET revision = EXCLUDED.revision, sums = EXCLUDED.sums, "
        "cluster_epoch = EXCLUDED.cluster_epoch, cluster = EXCLUDED.cluster, assigned = EXCLUDED.assigned "
        "WHERE contributions.revision <= EXCLUDED.revision"
    ),
}
"""Conflict clauses of tables whose existing rows change; all others are kept."""

_DECIDED = """SELECT r.*, d.*, r.more AS more, d.more AS decision_more FROM requests r JOIN decisions d
    ON d.request_id = r.id WHERE"""
PAGE = f"{_DECIDED} r.created_s >= %s AND (r.created_s, r.id) > (%s, %s) ORDER BY r.created_s, r.id LIMIT %s"
SOME = f"{_DECIDED} r.id = ANY(%s::uuid[])"
ORDERS = {
    "outcomes": ["request_id"],
    "attempts": ["number"],
    "feedback": ["revision"],
    "scores": ["source", "revision"],
    "evaluations": ["request_id"],
    "contributions": ["kind"],
}
"""Order of one request's rows, by table."""
ASSIGNED = """(SELECT DISTINCT ON (c.assigned) r.id, r.vector, r.embedding_model, r.more -> 'traits' AS traits,
    c.cluster_epoch, c.cluster, c.assigned FROM contributions c JOIN requests r ON r.id = c.request_id
    WHERE c.assigned > %(after)s AND r.vector IS NOT NULL ORDER BY c.assigned, r.id LIMIT %(batch)s)
    UNION ALL (SELECT NULL, vector, embedding_model, to_jsonb(traits), cluster_epoch, cluster, assigned FROM imports
    WHERE assigned > %(after)s AND vector IS NOT NULL ORDER BY assigned, id LIMIT %(batch)s)
    ORDER BY assigned LIMIT %(batch)s"""
SAVE_KINDS = sql.SQL("INSERT INTO kinds ({}) VALUES ({}) ON CONFLICT DO NOTHING").format(
    sql.SQL(", ").join(map(sql.Identifier, KINDS_COLUMNS)), sql.SQL(", ").join([sql.Placeholder()] * len(KINDS_COLUMNS))
)
KINDS_KEPT = 3
OLD_KINDS = "DELETE FROM kinds WHERE place NOT IN (SELECT place FROM kinds ORDER BY place DESC LIMIT %s)"
