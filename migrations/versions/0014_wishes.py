"""Add what a person decides for many recordings at once, and find the failed ones that nobody has dealt with."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "wishes",
        sa.Column("serial", serial, primary_key=True, autoincrement=True),
        sa.Column("deed", sa.String(8), nullable=False),
        sa.Column("sought", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("asked_at", sa.Float(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reached_at", sa.Float(), nullable=False),
        sa.Column("reached", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("hindered", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("hindrance", sa.Text(), nullable=False, server_default=""),
        sa.Column("ended_at", sa.Float(), nullable=True),
    )
    failed = sa.text("state = 'failed'")
    op.create_index(
        "ix_items_to_see",
        "items",
        ["state", "dismissed_at", "arrived_at"],
        sqlite_where=failed,
        postgresql_where=failed,
    )
    op.create_index("ix_verdicts_class", "verdicts", ["classification"])
