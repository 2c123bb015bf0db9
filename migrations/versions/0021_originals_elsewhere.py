"""Add what tells the state of an item at another site, for whom its duplicates wait."""

from alembic import op

revision = "0021"
down_revision = "0020"

# By the policies, a statement sees the rows of its own site. This sees one value of another's, and whatever the
# statement around it sees stays as it was.
_STATE_OF = """
    CREATE FUNCTION watcher_state_of(the_item text) RETURNS text LANGUAGE plpgsql AS $$
    DECLARE
        before text := coalesce(current_setting('watcher.wide', true), '');
        found text;
    BEGIN
        PERFORM set_config('watcher.wide', 'on', true);
        SELECT state INTO found FROM items WHERE id = the_item;
        PERFORM set_config('watcher.wide', before, true);
        RETURN found;
    END $$
"""


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_STATE_OF)
