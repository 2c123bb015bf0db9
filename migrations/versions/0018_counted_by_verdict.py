"""Add indexes by which pages count items: by their verdicts, and of the queued ones by their faults."""

import sqlalchemy as sa
from alembic import op

from watcher.store.dialects import where

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.create_index("ix_items_judged_as", "items", ["judged_as"], **where(sa.text("judged_as IS NOT NULL")))
    op.create_index("ix_items_unjudged", "items", ["judged_state"], **where(sa.text("judged_state <> 'known'")))
    hindered = sa.text("state = 'queued' AND fault_code IS NOT NULL")
    op.create_index("ix_items_hindered", "items", ["state", "fault_code"], **where(hindered))
