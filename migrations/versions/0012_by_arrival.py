"""Find the recordings that arrived within a period, and those that are artificial."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_index("ix_items_arrived_at", "items", ["arrived_at", "serial"])
    artificial = sa.text("classification = 'artificial'")
    op.create_index(
        "ix_verdicts_artificial",
        "verdicts",
        ["identifier"],
        sqlite_where=artificial,
        postgresql_where=artificial,
    )
