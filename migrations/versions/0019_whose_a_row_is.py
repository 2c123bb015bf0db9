"""Add the site and the account that each row belongs to; on a server, policies that let nobody see another's."""

import sqlalchemy as sa
from alembic import op

from watcher.store.dialects import OWN_ACCOUNT, OWN_SITE, where

revision = "0019"
down_revision = "0018"

_OF_SITE = (
    "items",
    "parts",
    "transitions",
    "obstacles",
    "waiting",
    "removals",
    "wishes",
    "tallies",
    "conditions",
    "messages",
)
_OF_ACCOUNT = ("attempts", "hits", "verdicts", "results", "spent_sums", "pauses")

_WIDE = "current_setting('watcher.wide', true) = 'on'"
_OWN_SITE = "site = current_setting('watcher.site', true)"
_OWN_ACCOUNT = "account = current_setting('watcher.account', true)"
_POLICIES = {
    **dict.fromkeys(_OF_SITE, _OWN_SITE),
    **dict.fromkeys(("hits", "verdicts", "results"), _OWN_ACCOUNT),
    # A site whose account was given another name keeps what it sent before.
    **dict.fromkeys(("attempts", "spent_sums"), f"{_OWN_SITE} OR {_OWN_ACCOUNT}"),
    "tombstones": f"{_OWN_SITE} OR base_url || ' ' || account = current_setting('watcher.account', true)",
    **dict.fromkeys(("pauses", "site"), f"{_OWN_SITE} OR site = '*' AND {_OWN_ACCOUNT}"),
}
# The site and the account come last: no policy is looked up in an index, since it has an OR.
_KEYS = {
    "waiting": "path, site",
    "site": "name, site, account",
    "tallies": "name, label, site",
    "conditions": "kind, subject, site",
    "spent_sums": "since, account, site",
    "verdicts": "identifier, account",
    "results": "identifier, account",
}


def upgrade() -> None:
    # A constant as SQLite has it: no row is written anew, however many there are.
    for table in (*_OF_SITE[1:], *_OF_ACCOUNT, "tombstones", "site"):
        op.add_column(table, sa.Column("site", sa.String(16), nullable=False, server_default=OWN_SITE))
    for table in _OF_ACCOUNT:
        op.add_column(table, sa.Column("account", sa.Text(), nullable=False, server_default=OWN_ACCOUNT))
    op.add_column("site", sa.Column("account", sa.Text(), nullable=False, server_default=""))
    op.drop_index("ux_pauses_active", table_name="pauses")
    active = where(sa.text("ended_at IS NULL"))
    op.create_index("ux_pauses_active", "pauses", ["kind", "site", "account"], unique=True, **active)
    if op.get_context().dialect.name == "postgresql":
        _keep_apart()


def _keep_apart() -> None:
    op.execute("ALTER TABLE items ALTER COLUMN site SET DEFAULT current_setting('watcher.site')")
    for table, key in _KEYS.items():
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey, ADD PRIMARY KEY ({key})")
    for table, policy in _POLICIES.items():
        # FORCE: the owner of the tables is who works with them.
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY of_scope ON {table} USING ({policy} OR {_WIDE})")
