"""Add whose file a recording was, so that spend can be told by user."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("items", sa.Column("owner", sa.BigInteger))
