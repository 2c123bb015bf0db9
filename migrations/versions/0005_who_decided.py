"""Add who decided, in an item's history and for a pause and its end; and when a failed item was dismissed."""

import sqlalchemy as sa
from alembic import op

from watcher.store.dialects import where

revision = "0005"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("transitions", sa.Column("by", sa.Text(), nullable=True))
    op.add_column("pauses", sa.Column("by", sa.Text(), nullable=True))
    op.add_column("pauses", sa.Column("ended_by", sa.Text(), nullable=True))
    op.add_column("items", sa.Column("dismissed_at", sa.Float(), nullable=True))
    op.add_column("items", sa.Column("dismissed_by", sa.Text(), nullable=True))
    op.create_index(
        "ix_items_dismissed",
        "items",
        ["state"],
        **where(sa.text("dismissed_at IS NOT NULL")),
    )
