"""Add what somebody is to be told of, and the messages about it until they are sent."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "conditions",
        sa.Column("kind", sa.String(12), primary_key=True),
        sa.Column("subject", sa.String(16), primary_key=True),
        sa.Column("opened_at", sa.Float(), nullable=False),
        sa.Column("closed_at", sa.Float(), nullable=True),
        sa.Column("opened_1", sa.Float(), nullable=True),
        sa.Column("opened_2", sa.Float(), nullable=True),
        sa.Column("opened_3", sa.Float(), nullable=True),
        sa.Column("told", sa.String(12), nullable=True),
        sa.Column("told_at", sa.Float(), nullable=True),
        sa.Column("told_opening", sa.Float(), nullable=True),
        sa.Column("look_at", sa.Float(), nullable=True),
    )
    waits = sa.text("look_at IS NOT NULL")
    op.create_index(
        "ix_conditions_look", "conditions", ["kind", "look_at"], sqlite_where=waits, postgresql_where=waits
    )
    op.create_index("ix_conditions_subject", "conditions", ["subject"])
    op.create_table(
        "messages",
        sa.Column("serial", serial, primary_key=True, autoincrement=True),
        sa.Column("made_at", sa.Float(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("sent_to", sa.Text(), nullable=False, server_default=""),
        sa.Column("ended_at", sa.Float(), nullable=True),
    )
