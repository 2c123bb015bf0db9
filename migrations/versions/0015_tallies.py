"""Add sums that are kept: what the ledger, the verdicts and the filing have come to until now."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

_UPLOAD_BOUNDS = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_FILED_BOUNDS = (1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400)
_ENDED = "FROM attempts WHERE ended_at IS NOT NULL"
_FILED = "FROM items WHERE state IN ('done', 'failed') AND filed_at IS NOT NULL"
_FILED_SECONDS = "CASE WHEN filed_at > arrived_at THEN filed_at - arrived_at ELSE 0 END"
_UPLOAD_SECONDS = "CASE WHEN ended_at > started_at THEN ended_at - started_at ELSE 0 END"


def _bucket(seconds: str, bounds: tuple[float, ...]) -> str:
    """Return SQL for the upper bound of the bucket that so many seconds fall into, as text."""
    return "CASE " + " ".join(f"WHEN {seconds} <= {b} THEN '{b:g}'" for b in bounds) + " ELSE 'inf' END"


def upgrade() -> None:
    op.create_table(
        "tallies",
        sa.Column("name", sa.String(16), primary_key=True),
        sa.Column("label", sa.Text(), primary_key=True),
        sa.Column("number", sa.Float(), nullable=False),
    )
    upload, filed = _bucket(_UPLOAD_SECONDS, _UPLOAD_BOUNDS), _bucket(_FILED_SECONDS, _FILED_BOUNDS)
    for name, label, number, rows in (
        ("submissions", "outcome", "count(*)", _ENDED),
        ("requests", "'submit ' || coalesce(CAST(status AS VARCHAR(8)), 'none')", "count(*)", _ENDED),
        ("upload_seconds", upload, "count(*)", _ENDED),
        ("upload_seconds", "'sum'", f"sum({_UPLOAD_SECONDS})", _ENDED),
        ("filed_seconds", f"state || ' ' || {filed}", "count(*)", _FILED),
        ("filed_seconds", "state || ' sum'", f"sum({_FILED_SECONDS})", _FILED),
        (
            "verdicts",
            "classification",
            "count(*)",
            "FROM verdicts WHERE state = 'known' AND classification IS NOT NULL",
        ),
        ("items", "''", "count(*)", "FROM items"),
        ("credits", "''", "count(*)", f"{_ENDED} AND charged <> 'no'"),
    ):
        group = "" if label.startswith("''") or label == "'sum'" else f" GROUP BY {label}"
        having = " HAVING count(*) > 0"
        op.execute(
            f"INSERT INTO tallies (name, label, number) SELECT '{name}', {label}, {number} {rows}{group}{having}"
        )
    op.execute(
        "INSERT INTO tallies (name, label, number) SELECT 'credits', '', 0 "
        "WHERE NOT EXISTS (SELECT 1 FROM tallies WHERE name = 'credits')"
    )
    op.execute(
        "UPDATE tallies SET number = number + (SELECT coalesce(sum(charged), 0) FROM spent_sums) "
        "WHERE name = 'credits'"
    )
