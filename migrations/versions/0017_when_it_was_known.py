"""Add when a verdict was known; and what reports sum up to the items themselves, with an index that has it all."""

import sqlalchemy as sa
from alembic import op

from watcher.store.dialects import where

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.add_column("verdicts", sa.Column("known_at", sa.Float(), nullable=True))
    # One that is known is asked for again only if a person wishes it.
    op.execute("UPDATE verdicts SET known_at = asked_at WHERE state = 'known'")
    op.add_column("items", sa.Column("judged_state", sa.String(16), nullable=True))
    op.add_column("items", sa.Column("judged_as", sa.Text(), nullable=True))
    op.add_column("items", sa.Column("judged_confidence", sa.Float(), nullable=True))
    op.add_column("items", sa.Column("judged_at", sa.Float(), nullable=True))
    op.execute(
        "UPDATE items SET (judged_state, judged_as, judged_confidence, judged_at) = "
        "(SELECT state, classification, confidence, known_at FROM verdicts"
        " WHERE verdicts.identifier = items.identifier) WHERE identifier IS NOT NULL"
    )
    op.create_index(
        "ix_items_counted",
        "items",
        [
            "arrived_at",
            "plan_mode",
            "state",
            "fault_code",
            "judged_state",
            "judged_as",
            "judged_confidence",
            "judged_at",
        ],
    )
    artificial = sa.text("judged_as = 'artificial'")
    op.create_index("ix_items_artificial", "items", ["arrived_at", "serial"], **where(artificial))
