"""Add what the service says beside its verdict, its whole results, a person's review, and a move within done/."""

import sqlalchemy as sa
from alembic import op

from watcher.store.dialects import where

revision = "0011"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("verdicts", sa.Column("machine_classification", sa.Text(), nullable=True))
    op.add_column("verdicts", sa.Column("machine_confidence", sa.Float(), nullable=True))
    op.add_column("verdicts", sa.Column("result_url", sa.Text(), nullable=True))
    op.create_table(
        "results",
        sa.Column("identifier", sa.Text(), primary_key=True),
        sa.Column("fetched_at", sa.Float(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
    )
    op.add_column("items", sa.Column("review_word", sa.String(12), nullable=True))
    op.add_column("items", sa.Column("review_note", sa.Text(), nullable=True))
    op.add_column("items", sa.Column("review_by", sa.Text(), nullable=True))
    op.add_column("items", sa.Column("review_at", sa.Float(), nullable=True))
    op.add_column("items", sa.Column("moves_to", sa.LargeBinary(), nullable=True))
    op.create_index("ix_items_moves_to", "items", ["state"], **where(sa.text("moves_to IS NOT NULL")))
