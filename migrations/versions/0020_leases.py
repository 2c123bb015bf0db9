"""Add which node works on a site, and what refuses the writes of one that has lost its lease."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"

_CHECK_TERM = """
    CREATE FUNCTION watcher_check_term(the_site text, the_epoch bigint) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        IF NOT EXISTS (SELECT FROM leases WHERE site = the_site AND epoch = the_epoch) THEN
            RAISE EXCEPTION 'epoch % of site % is over', the_epoch, the_site USING ERRCODE = 'WL001';
        END IF;
    END $$
"""


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("site", sa.String(16), primary_key=True),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_CHECK_TERM)
