"""Add container, codec, length, channels and sample rate of recordings. Unknown for those vetted before."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("items", sa.Column("container", sa.Text(), nullable=True))
    op.add_column("items", sa.Column("codec", sa.Text(), nullable=True))
    op.add_column("items", sa.Column("seconds", sa.Float(), nullable=True))
    op.add_column("items", sa.Column("channels", sa.Integer(), nullable=True))
    op.add_column("items", sa.Column("sample_rate", sa.Integer(), nullable=True))
