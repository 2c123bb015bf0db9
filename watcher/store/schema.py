"""The tables, for every kind of database. The revisions create exactly these, as a test verifies.

On a server, where a database has several sites and accounts, policies let each transaction see the rows of its
own: see scope.py. The keys of the tables whose names, paths or times could be another's too have the site and the
account behind them there; in a file, which has one site, they are as they are here.
"""

from collections.abc import Set as AbstractSet

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    and_,
    text,
    true,
)

from watcher.domain import LIVE, WAITING, State
from watcher.store.dialects import EMPTY_BYTES, OF_SCOPE, OWN_ACCOUNT, OWN_SITE, Word, where

metadata = MetaData()

_serial = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only for INTEGER


def _site() -> Column[str]:
    """Return the column that says which site a row belongs to; "": the only one of a file."""
    return Column("site", String(16), nullable=False, server_default=OWN_SITE, info=OF_SCOPE)


def _account() -> Column[str]:
    """Return the column that says which account of which service a row belongs to; "": the only one of a file."""
    return Column("account", Text, nullable=False, server_default=OWN_ACCOUNT, info=OF_SCOPE)


items = Table(
    "items",
    metadata,
    Column("serial", _serial, primary_key=True, autoincrement=True),  # the order of arrival
    Column("id", String(16), nullable=False, unique=True),
    Column("path", LargeBinary, nullable=False),  # bytes: a name on disk need not be text
    Column("state", Word(16), nullable=False),
    Column("fingerprint", Text, nullable=False),  # device:inode:size:mtime_ns:ctime_ns; 64-bit inodes overflow
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64)),
    Column("media_type", Text),
    Column("extension", Text),
    Column("container", Text),  # null: the recording was not examined, and the next four are null as well
    Column("codec", Text),
    Column("seconds", Float),
    Column("channels", Integer),
    Column("sample_rate", Integer),
    Column("content_key", String(64)),
    Column("plan_mode", String(8)),  # null: it is sent as it is, and the next two are null as well
    Column("parts_most", Integer),
    Column("plan_reason", Text),
    Column("arrived_at", Float, nullable=False),
    Column("due_at", Float, nullable=False),
    Column("claim", String(16)),
    Column("identifier", Text),
    Column("fault_code", Text),
    Column("fault_message", Text),
    Column("fault_hint", Text),
    Column("warning", Text),
    Column("duplicate_of", String(16)),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("attempted_at", Float),
    Column("faults", Integer, nullable=False, server_default="0"),
    Column("faulted_at", Float),
    Column("in_doubt", Boolean, nullable=False, server_default="0"),
    Column("suspected_at", Float),  # refused in words that blame nobody, at this time
    Column("fresh", Boolean, nullable=False, server_default="0"),
    Column("retried", Boolean, nullable=False, server_default="0"),
    Column("outcome", Word(16)),
    Column("filed_as", LargeBinary),
    Column("submitted_at", Float),
    Column("filed_at", Float),
    Column("receipt_due", Boolean, nullable=False, server_default="0"),
    Column("altered", String(8)),  # since it was filed: grown or changed; null: not, as far as anybody looked
    Column("altered_size", BigInteger),  # what it had then
    Column("altered_at", Float),  # when that was found
    Column("dismissed_at", Float),  # failed, and a person is done with it
    Column("dismissed_by", Text),
    Column("review_word", String(12)),  # what a person says that it is; null: nobody has said
    Column("review_note", Text),
    Column("review_by", Text),
    Column("review_at", Float),
    Column("removed_at", Float),  # its recording is no longer where it was filed; null: it is
    Column("removed_how", String(12)),
    Column("receipt_removed_at", Float),  # a tombstone lies there in its place
    # paths, each ended by a NUL byte
    Column("companions", LargeBinary, nullable=False, server_default=EMPTY_BYTES),
    _site(),
    Column("moves_to", LargeBinary),  # where in done/ it moves on to, now that its verdict is known; null: nowhere
    Column("owner", BigInteger),  # the uid whose file it was when it was dropped; null: nobody has looked
    # Of the verdict on its identifier, for sums over very many: `verdict_copies` keeps them as that is.
    Column("judged_state", String(16)),
    Column("judged_as", Text),
    Column("judged_confidence", Float),
    Column("judged_at", Float),
    Index("ix_items_due", "state", "due_at"),
    Index("ix_items_arrival", "state", "arrived_at"),
    Index("ix_items_arrived_at", "arrived_at", "serial"),
    Index("ix_items_path", "path"),
    Index("ix_items_filed_as", "filed_as"),
    Index("ix_items_content_key", "content_key"),
    Index("ix_items_sha256", "sha256"),
    Index("ix_items_identifier", "identifier"),
)


def _in(states: AbstractSet[State]) -> ColumnElement[bool]:
    return items.c.state.in_([state for state in State if state in states])


_WAITS = and_(items.c.duplicate_of.is_not(None), _in(WAITING))
WAITS_FOR_ANOTHER = text(str(_WAITS.compile(compile_kwargs={"literal_binds": True})))
"""Whether the item waits for another one with its bytes. As literal text, as SQLite needs to use the index."""

Index("ix_items_duplicate_of", items.c.state, items.c.duplicate_of, **where(_WAITS))
Index("ix_items_receipt_due", items.c.state, **where(items.c.receipt_due == true()))
Index("ix_items_moves_to", items.c.state, **where(items.c.moves_to.is_not(None)))
Index("ix_items_altered", items.c.state, **where(items.c.altered.is_not(None)))
Index("ix_items_dismissed", items.c.state, **where(items.c.dismissed_at.is_not(None)))
TO_SEE = text("state = 'failed' AND dismissed_at IS NULL")
"""Whether the item failed, and nobody has said yet that this is dealt with. As literal text: see above."""
Index(
    "ix_items_to_see",
    items.c.state,
    items.c.dismissed_at,
    items.c.arrived_at,
    **where(text("state = 'failed'")),
)
# One file, one row: whatever else goes wrong, no path of a site is ever queued twice at the same time.
Index("ux_items_live_path", items.c.path, items.c.site, **where(_in(LIVE)), unique=True)

# What retention looks for: filed so long ago, and still there.
Index("ix_items_filed_at", items.c.filed_at, items.c.removed_at, items.c.receipt_removed_at)
Index("ix_items_planned", items.c.state, items.c.arrived_at, **where(items.c.plan_mode.is_not(None)))

# A report sums up all of a period from this index alone.
Index(
    "ix_items_counted",
    items.c.arrived_at,
    items.c.plan_mode,
    items.c.state,
    items.c.fault_code,
    items.c.judged_state,
    items.c.judged_as,
    items.c.judged_confidence,
    items.c.judged_at,
)
# Pages count by these. As literal text: see above.
Index("ix_items_judged_as", items.c.judged_as, **where(text("judged_as IS NOT NULL")))
UNJUDGED = text("judged_state <> 'known'")
"""Whether the item's verdict is asked for and not known."""
Index("ix_items_unjudged", items.c.judged_state, **where(UNJUDGED))
HINDERED = text("state = 'queued' AND fault_code IS NOT NULL")
"""Whether the item is queued and has met a fault."""
Index("ix_items_hindered", items.c.state, items.c.fault_code, **where(HINDERED))
# As literal text: see above.
Index("ix_items_artificial", items.c.arrived_at, items.c.serial, **where(text("judged_as = 'artificial'")))

parts = Table(
    "parts",
    metadata,
    Column("item_id", String(16), primary_key=True),
    Column("index", Integer, primary_key=True),  # from 1
    Column("channel", Integer),  # null: all together
    Column("start", BigInteger, nullable=False),
    Column("end", BigInteger, nullable=False),
    Column("start_seconds", Float, nullable=False),
    Column("end_seconds", Float, nullable=False),
    Column("silent", Boolean, nullable=False, server_default="0"),
    Column("name", Text),  # of its file in the spool; null: none lies there
    Column("how", String(8)),  # null: it was never made, and the next six are null as well
    Column("sha256", String(64)),
    Column("size", BigInteger),
    Column("media_type", Text),
    Column("extension", Text),
    Column("proof", Text),
    Column("content_key", String(64)),
    Column("state", Word(16), nullable=False),
    Column("identifier", Text),
    Column("submitted_at", Float),
    Column("in_doubt", Boolean, nullable=False, server_default="0"),
    Column("fault_code", Text),
    Column("fault_message", Text),
    Column("fault_hint", Text),
    _site(),
    Index("ix_parts_identifier", "identifier"),
    Index("ix_parts_content_key", "content_key"),
)

transitions = Table(
    "transitions",
    metadata,
    Column("serial", _serial, primary_key=True, autoincrement=True),
    Column("item_id", String(16), nullable=False),
    Column("at", Float, nullable=False),
    Column("before", String(16)),
    Column("after", String(16), nullable=False),
    Column("note", Text, nullable=False, server_default=""),
    Column("by", Text),  # the person who decided it; null: nobody did
    _site(),
    Index("ix_transitions_item", "item_id", "serial"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("number", _serial, primary_key=True, autoincrement=True),
    Column("item_id", String(16), nullable=False),
    Column("started_at", Float, nullable=False),
    Column("released_at", Float),
    Column("ended_at", Float),
    Column("size", BigInteger, nullable=False),
    Column("status", Integer),
    Column("outcome", Text, nullable=False),
    Column("charged", String(8), nullable=False),
    Column("decision", Text, nullable=False, server_default=""),
    Column("detail", Text, nullable=False, server_default=""),
    Column("identifier", Text),
    Column("no_cache", Boolean, nullable=False, server_default="0"),
    Column("canary", Boolean, nullable=False, server_default="0"),
    Column("part", Integer),  # the index of the part that it was for; null: the recording as it is
    _site(),
    _account(),
    Index("ix_attempts_item", "item_id", "number"),
    Index("ix_attempts_started", "started_at", "charged"),
)

Index("ix_attempts_open", attempts.c.number, **where(attempts.c.ended_at.is_(None)))

rate_events = Table(  # "hits" is what the first version called them
    "hits",
    metadata,
    Column("serial", _serial, primary_key=True, autoincrement=True),
    Column("kind", String(8), nullable=False),  # "write" or "read"
    Column("released_at", Float, nullable=False),
    Column("ended_at", Float),  # null: its end is still to come
    _site(),
    _account(),
    Index("ix_hits_end", "kind", "ended_at"),
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("identifier", Text, primary_key=True),
    Column("state", Word(16), nullable=False),
    Column("since", Float, nullable=False),
    Column("due_at", Float, nullable=False),
    Column("asked_at", Float),
    Column("asked", Integer, nullable=False, server_default="0"),
    Column("classification", Text),
    Column("confidence", Float),
    Column("heuristic", Text),
    Column("models", Text, nullable=False, server_default="[]"),
    Column("api_version", Text),
    Column("forced", Boolean, nullable=False, server_default="0"),
    Column("detail", Text, nullable=False, server_default=""),
    Column("machine_classification", Text),  # what the models said, whatever was decided by force
    Column("machine_confidence", Float),
    Column("result_url", Text),
    Column("known_at", Float),  # when it was first known as it is; null: it is not
    _site(),
    _account(),
    Index("ix_verdicts_due", "state", "due_at"),
    Index("ix_verdicts_class", "classification"),
)

results = Table(  # what the verdicts rest on: apart, since it is long and seldom read
    "results",
    metadata,
    Column("identifier", Text, primary_key=True),
    Column("fetched_at", Float, nullable=False),
    Column("content", LargeBinary, nullable=False),  # the service's JSON, without the key, compressed
    _site(),
    _account(),
)
# Literal text, as SQLite needs to use the index.
Index("ix_verdicts_artificial", verdicts.c.identifier, **where(text("classification = 'artificial'")))

pauses = Table(
    "pauses",
    metadata,
    Column("serial", _serial, primary_key=True, autoincrement=True),
    Column("kind", String(16), nullable=False),
    Column("code", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("since", Float, nullable=False),
    Column("until", Float),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("ended_at", Float),
    Column("by", Text),  # the person who paused; null: nobody did
    Column("ended_by", Text),
    _site(),  # "*": every site of the account
    _account(),
)

Index(
    "ux_pauses_active",
    pauses.c.kind,
    pauses.c.site,
    pauses.c.account,
    **where(pauses.c.ended_at.is_(None)),
    unique=True,
)

obstacles = Table(
    "obstacles",
    metadata,
    Column("item_id", String(16), primary_key=True),
    Column("since", Float, nullable=False),
    Column("again_at", Float, nullable=False),
    Column("code", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("hint", Text, nullable=False, server_default=""),
    _site(),
    Index("ix_obstacles_again", "again_at"),
)

waiting = Table(
    "waiting",
    metadata,
    Column("path", LargeBinary, primary_key=True),
    Column("since", Float, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("code", Text, nullable=False),
    Column("reason", Text, nullable=False),
    _site(),
)

site = Table(
    "site",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    _site(),  # "*": what is known of the account
    Column("account", Text, nullable=False, server_default="", info=OF_SCOPE),  # "" unless it is of an account
)

removals = Table(  # what is being removed, or is to be: the wish is committed before anything is touched
    "removals",
    metadata,
    Column("item_id", String(16), primary_key=True),
    Column("what", String(12), nullable=False),  # "recording", "receipt", or "everything"
    Column("why", String(12), nullable=False),
    Column("asked_at", Float, nullable=False),
    Column("by", Text),  # the person who asked for it; null: retention did
    Column("fault_code", Text),  # why it could not be done; null: nobody has tried yet
    Column("fault_message", Text),
    Column("fault_hint", Text),
    _site(),
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("id", String(16), primary_key=True),  # of the item
    Column("content", String(64)),  # the keyed hash of its content key
    Column("outcome", String(16)),  # done or failed; null: it was withdrawn
    Column("identifier", Text),
    Column("mode", String(8)),  # null: it was sent as it is
    Column("parts", Text, nullable=False, server_default="[]"),
    Column("submitted_at", Float),
    Column("erased_at", Float, nullable=False),
    Column("why", String(12), nullable=False),
    Column("base_url", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("charged", Integer, nullable=False),
    Column("in_doubt", Boolean, nullable=False),
    Column("refused", Boolean, nullable=False),
    _site(),
    Index("ix_tombstones_content", "content"),
)

spent_sums = Table(  # of the requests whose lines in the ledger are gone
    "spent_sums",
    metadata,
    Column("since", Float, primary_key=True),  # the beginning of a quarter of an hour, in which any day may begin
    Column("requests", Integer, nullable=False),
    Column("charged", Integer, nullable=False),  # or possibly so
    _site(),
    _account(),
)

wishes = Table(  # what a person decided for many recordings at once
    "wishes",
    metadata,
    Column("serial", _serial, primary_key=True, autoincrement=True),
    Column("deed", String(8), nullable=False),
    Column("sought", Text, nullable=False),  # as JSON; "" once it has ended
    Column("number", Integer, nullable=False),
    Column("seen", BigInteger, nullable=False),
    Column("asked_at", Float, nullable=False),
    Column("by", Text, nullable=False),
    Column("reached_at", Float, nullable=False),  # where in the list the next one is looked for
    Column("reached", BigInteger, nullable=False),
    Column("done", Integer, nullable=False, server_default="0"),
    Column("hindered", Integer, nullable=False, server_default="0"),
    Column("hindrance", Text, nullable=False, server_default=""),
    Column("ended_at", Float),  # null: the daemon is at it
    _site(),
)

tallies = Table(  # sums that are kept, and that no removal of rows makes smaller; see tallies.py
    "tallies",
    metadata,
    Column("name", String(16), primary_key=True),
    Column("label", Text, primary_key=True),
    Column("number", Float, nullable=False),
    _site(),
)

conditions = Table(  # what somebody is to be told of: what is the case, beside what was told
    "conditions",
    metadata,
    Column("kind", String(12), primary_key=True),
    Column("subject", String(16), primary_key=True),  # the id of an item, the kind of a pause, or ""
    Column("opened_at", Float, nullable=False),
    Column("closed_at", Float),  # null: it is open
    Column("opened_1", Float),  # the opening before the latest one, and the two before that
    Column("opened_2", Float),
    Column("opened_3", Float),
    Column("told", String(12)),  # null: nothing, or that it is over
    Column("told_at", Float),
    Column("told_opening", Float),
    Column("look_at", Float),  # when there is something to tell of it; null: when it changes
    _site(),
    Index("ix_conditions_subject", "subject"),
)
Index("ix_conditions_look", conditions.c.kind, conditions.c.look_at, **where(conditions.c.look_at.is_not(None)))

messages = Table(  # what is to be told, until it is: a row is made in the transaction that notes it as told
    "messages",
    metadata,
    Column("serial", _serial, primary_key=True, autoincrement=True),  # the key against repeats
    Column("made_at", Float, nullable=False),
    Column("content", Text, nullable=False),  # as JSON: ids and counts, no name; "" once it has ended
    Column("sent_to", Text, nullable=False, server_default=""),  # the marks of addresses, each ended by a space
    Column("ended_at", Float),  # null: it is still to be sent to some address
    _site(),
)

leases = Table(  # which node works on a site, on the clock of the database's server; none on SQLite
    "leases",
    metadata,
    Column("site", String(16), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("node", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("version", Text, nullable=False),  # of the program
    Column("folder", Text, nullable=False),  # the drop folder as that node has it; "" where names are hidden
    Column("epoch", BigInteger, nullable=False),  # it grows each time the lease is taken
    Column("since", Float, nullable=False),
    Column("until", Float, nullable=False),
)
