"""Create the first tables."""

import sqlalchemy as sa
from alembic import op

from watcher.store.dialects import EMPTY_BYTES, where

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "attempts",
        sa.Column(
            "number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("item_id", sa.String(length=16), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("released_at", sa.Float(), nullable=True),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("charged", sa.String(length=8), nullable=False),
        sa.Column("decision", sa.Text(), server_default="", nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("identifier", sa.Text(), nullable=True),
        sa.Column("no_cache", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("canary", sa.Boolean(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("ix_attempts_item", "attempts", ["item_id", "number"], unique=False)
    op.create_index(
        "ix_attempts_open",
        "attempts",
        ["number"],
        unique=False,
        **where(sa.text("ended_at IS NULL")),
    )
    op.create_index("ix_attempts_started", "attempts", ["started_at", "charged"], unique=False)
    op.create_table(
        "hits",
        sa.Column(
            "serial", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("released_at", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("serial"),
    )
    op.create_index("ix_hits_end", "hits", ["kind", "ended_at"], unique=False)
    op.create_table(
        "items",
        sa.Column(
            "serial", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("media_type", sa.Text(), nullable=True),
        sa.Column("extension", sa.Text(), nullable=True),
        sa.Column("content_key", sa.String(length=64), nullable=True),
        sa.Column("arrived_at", sa.Float(), nullable=False),
        sa.Column("due_at", sa.Float(), nullable=False),
        sa.Column("claim", sa.String(length=16), nullable=True),
        sa.Column("identifier", sa.Text(), nullable=True),
        sa.Column("fault_code", sa.Text(), nullable=True),
        sa.Column("fault_message", sa.Text(), nullable=True),
        sa.Column("fault_hint", sa.Text(), nullable=True),
        sa.Column("warning", sa.Text(), nullable=True),
        sa.Column("duplicate_of", sa.String(length=16), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempted_at", sa.Float(), nullable=True),
        sa.Column("faults", sa.Integer(), server_default="0", nullable=False),
        sa.Column("faulted_at", sa.Float(), nullable=True),
        sa.Column("in_doubt", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("suspected_at", sa.Float(), nullable=True),
        sa.Column("fresh", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("retried", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.Column("filed_as", sa.LargeBinary(), nullable=True),
        sa.Column("submitted_at", sa.Float(), nullable=True),
        sa.Column("filed_at", sa.Float(), nullable=True),
        sa.Column("receipt_due", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("companions", sa.LargeBinary(), server_default=EMPTY_BYTES, nullable=False),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("ix_items_arrival", "items", ["state", "arrived_at"], unique=False)
    op.create_index("ix_items_content_key", "items", ["content_key"], unique=False)
    op.create_index("ix_items_due", "items", ["state", "due_at"], unique=False)
    op.create_index(
        "ix_items_duplicate_of",
        "items",
        ["state", "duplicate_of"],
        unique=False,
        **where(sa.text("duplicate_of IS NOT NULL AND state IN ('queued', 'held')")),
    )
    op.create_index("ix_items_filed_as", "items", ["filed_as"], unique=False)
    op.create_index("ix_items_identifier", "items", ["identifier"], unique=False)
    op.create_index("ix_items_path", "items", ["path"], unique=False)
    op.create_index(
        "ix_items_receipt_due",
        "items",
        ["state"],
        unique=False,
        **where(sa.column("receipt_due", sa.Boolean) == sa.true()),
    )
    op.create_index("ix_items_sha256", "items", ["sha256"], unique=False)
    op.create_index(
        "ux_items_live_path",
        "items",
        ["path"],
        unique=True,
        **where(sa.text("state IN ('queued', 'submitting', 'filing', 'held', 'returning')")),
    )
    op.create_table(
        "pauses",
        sa.Column(
            "serial", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("serial"),
    )
    op.create_index(
        "ux_pauses_active",
        "pauses",
        ["kind"],
        unique=True,
        **where(sa.text("ended_at IS NULL")),
    )
    op.create_table(
        "site",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "transitions",
        sa.Column(
            "serial", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("item_id", sa.String(length=16), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("before", sa.String(length=16), nullable=True),
        sa.Column("after", sa.String(length=16), nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("serial"),
    )
    op.create_index("ix_transitions_item", "transitions", ["item_id", "serial"], unique=False)
    op.create_table(
        "verdicts",
        sa.Column("identifier", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("due_at", sa.Float(), nullable=False),
        sa.Column("asked_at", sa.Float(), nullable=True),
        sa.Column("asked", sa.Integer(), server_default="0", nullable=False),
        sa.Column("classification", sa.Text(), nullable=True),
        sa.Column("confidence", sa.Float(), nullable=True),
        sa.Column("heuristic", sa.Text(), nullable=True),
        sa.Column("models", sa.Text(), server_default="[]", nullable=False),
        sa.Column("api_version", sa.Text(), nullable=True),
        sa.Column("forced", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("identifier"),
    )
    op.create_index("ix_verdicts_due", "verdicts", ["state", "due_at"], unique=False)
    op.create_table(
        "waiting",
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("path"),
    )
