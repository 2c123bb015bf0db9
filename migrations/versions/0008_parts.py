"""Add the parts of recordings that are not sent as they are, and the state in which these are made."""

import sqlalchemy as sa
from alembic import op

from watcher.store.dialects import where

revision = "0008"
down_revision = "0006"

_LIVE = sa.text("state IN ('preparing', 'queued', 'submitting', 'filing', 'held', 'returning')")


def upgrade() -> None:
    op.add_column("items", sa.Column("plan_mode", sa.String(8), nullable=True))
    op.add_column("items", sa.Column("parts_most", sa.Integer(), nullable=True))
    op.add_column("items", sa.Column("plan_reason", sa.Text(), nullable=True))
    op.add_column("attempts", sa.Column("part", sa.Integer(), nullable=True))
    op.create_index(
        "ix_items_planned", "items", ["state", "arrived_at"], **where(sa.text("plan_mode IS NOT NULL"))
    )
    op.drop_index("ux_items_live_path", table_name="items")
    op.create_index("ux_items_live_path", "items", ["path", "site"], unique=True, **where(_LIVE))
    op.create_table(
        "parts",
        sa.Column("item_id", sa.String(16), primary_key=True),
        sa.Column("index", sa.Integer(), primary_key=True),
        sa.Column("channel", sa.Integer(), nullable=True),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("end", sa.BigInteger(), nullable=False),
        sa.Column("start_seconds", sa.Float(), nullable=False),
        sa.Column("end_seconds", sa.Float(), nullable=False),
        sa.Column("silent", sa.Boolean(), nullable=False, server_default="0"),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("how", sa.String(8), nullable=True),
        sa.Column("sha256", sa.String(64), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("media_type", sa.Text(), nullable=True),
        sa.Column("extension", sa.Text(), nullable=True),
        sa.Column("proof", sa.Text(), nullable=True),
        sa.Column("content_key", sa.String(64), nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("identifier", sa.Text(), nullable=True),
        sa.Column("submitted_at", sa.Float(), nullable=True),
        sa.Column("in_doubt", sa.Boolean(), nullable=False, server_default="0"),
        sa.Column("fault_code", sa.Text(), nullable=True),
        sa.Column("fault_message", sa.Text(), nullable=True),
        sa.Column("fault_hint", sa.Text(), nullable=True),
    )
    for name in ("identifier", "content_key"):
        op.create_index(f"ix_parts_{name}", "parts", [name])
