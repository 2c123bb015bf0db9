"""Add the site of an item, for a database with several sites; and make live paths unique within a site."""

import sqlalchemy as sa
from alembic import op

from watcher.store.dialects import where

revision = "0006"
down_revision = "0005"

_LIVE = sa.text("state IN ('queued', 'submitting', 'filing', 'held', 'returning')")


def upgrade() -> None:
    op.add_column("items", sa.Column("site", sa.String(16), nullable=False, server_default=""))
    op.drop_index("ux_items_live_path", table_name="items")
    op.create_index("ux_items_live_path", "items", ["path", "site"], unique=True, **where(_LIVE))
