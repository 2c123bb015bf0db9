"""Add what retention and erasure need: tombstones, what is to be removed, and sums of what was spent."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("items", sa.Column("removed_at", sa.Float(), nullable=True))
    op.add_column("items", sa.Column("removed_how", sa.String(12), nullable=True))
    op.add_column("items", sa.Column("receipt_removed_at", sa.Float(), nullable=True))
    op.create_index("ix_items_filed_at", "items", ["filed_at", "removed_at", "receipt_removed_at"])
    op.create_table(
        "removals",
        sa.Column("item_id", sa.String(16), primary_key=True),
        sa.Column("what", sa.String(12), nullable=False),
        sa.Column("why", sa.String(12), nullable=False),
        sa.Column("asked_at", sa.Float(), nullable=False),
        sa.Column("by", sa.Text(), nullable=True),
        sa.Column("fault_code", sa.Text(), nullable=True),
        sa.Column("fault_message", sa.Text(), nullable=True),
        sa.Column("fault_hint", sa.Text(), nullable=True),
    )
    op.create_table(
        "tombstones",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("content", sa.String(64), nullable=True),
        sa.Column("outcome", sa.String(16), nullable=True),
        sa.Column("identifier", sa.Text(), nullable=True),
        sa.Column("mode", sa.String(8), nullable=True),
        sa.Column("parts", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("submitted_at", sa.Float(), nullable=True),
        sa.Column("erased_at", sa.Float(), nullable=False),
        sa.Column("why", sa.String(12), nullable=False),
        sa.Column("base_url", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("charged", sa.Integer(), nullable=False),
        sa.Column("in_doubt", sa.Boolean(), nullable=False),
        sa.Column("refused", sa.Boolean(), nullable=False),
    )
    op.create_index("ix_tombstones_content", "tombstones", ["content"])
    op.create_table(
        "spent_sums",
        sa.Column("since", sa.Float(), primary_key=True),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.Column("charged", sa.Integer(), nullable=False),
    )
