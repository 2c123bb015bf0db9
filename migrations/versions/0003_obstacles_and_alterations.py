"""Add what blocks the filing of an item, and how a recording was altered since it was filed."""

import sqlalchemy as sa
from alembic import op

from watcher.store.dialects import where

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("items", sa.Column("altered", sa.String(8), nullable=True))
    op.add_column("items", sa.Column("altered_size", sa.BigInteger(), nullable=True))
    op.add_column("items", sa.Column("altered_at", sa.Float(), nullable=True))
    op.create_index(
        "ix_items_altered",
        "items",
        ["state"],
        **where(sa.text("altered IS NOT NULL")),
    )
    op.create_table(
        "obstacles",
        sa.Column("item_id", sa.String(16), primary_key=True),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("again_at", sa.Float(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False, server_default=""),
    )
    op.create_index("ix_obstacles_again", "obstacles", ["again_at"])
