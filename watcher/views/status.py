"""The state of a site: its daemon, its recordings by state, and what keeps any of them back."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from watcher.config import AudioConfig
from watcher.domain import BACKLOG, Alteration, Fault, Item, Pause, State, VerdictState
from watcher.errors import UNSENDABLE
from watcher.journey.alterations import explain
from watcher.journey.failures import Failure
from watcher.journey.submit.windows import describe, find_windows, seconds_for
from watcher.journey.working import Activity, Working
from watcher.store import Books, Left, Obstacle, Waiting
from watcher.text import JsonObject, path_text, rfc3339
from watcher.views.context import CommandContext
from watcher.views.today import Today, read_today

_BLOCKED_SHOWN = 1000
_STUCK_SHOWN = 1000
_ALTERED_LOOKED_AT = 1000
_IN_PARTS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Blocked:
    """A file that is not taken or sent until a person acts. `id`: null for a file that has no item yet."""

    id: str | None
    path: bytes
    since: float
    again_at: float | None
    fault: Fault

    def as_json(self) -> JsonObject:
        return {
            "id": self.id,
            "path": path_text(self.path),
            "since": rfc3339(self.since),
            "again_at": rfc3339(self.again_at),
            **self.fault.as_json(),
        }


@dataclass(frozen=True, slots=True)
class Altered:
    """A recording that was altered after it was filed, and is still there. The fault's code says how."""

    item: Item
    fault: Fault

    def as_json(self) -> JsonObject:
        return {"id": self.item.id, "path": path_text(self.item.path), **self.fault.as_json()}


@dataclass(frozen=True, slots=True)
class InParts:
    """A recording that is sent in parts just now, and the next of them."""

    item: Item
    progress: str

    def as_json(self) -> JsonObject:
        return {"id": self.item.id, "path": path_text(self.item.path), "progress": self.progress}


@dataclass(frozen=True, slots=True)
class Counts:
    """Totals: recordings and verdicts by state, and the lengths of the lists that Status cuts short."""

    states: dict[State, int]
    verdicts: dict[VerdictState, int]
    dismissed: int  # of the failed
    waiting: int
    waiting_blocked: int
    blocked: int
    stuck: int

    @property
    def backlog(self) -> int:
        """Queued, or being sent."""
        return sum(self.states[state] for state in BACKLOG)

    @property
    def needs_person(self) -> dict[str, int]:
        return {"failed": self.states[State.FAILED] - self.dismissed, "held": self.states[State.HELD]}


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a site. `pauses`: a person's comes first."""

    lost: Fault | None
    working: Working
    failing: tuple[Failure, ...]
    silent: list[Fault]  # the folders whose server does not answer
    outdated: list[str]  # what the running daemon has read that has changed on disk since
    counts: Counts
    today: Today
    pauses: list[Pause]
    rate: str
    eta_seconds: float
    last_scan_at: float | None
    oldest_queued_at: float | None
    in_parts: list[InParts]  # the oldest of which some parts were sent
    waiting: list[Waiting]  # no items yet: blocked ones first, then by how long they wait
    blocked: list[Blocked]  # the oldest first
    stuck: list[Obstacle]
    altered: list[Altered]
    left: Left  # files in the drop folder that are not recordings

    def how_many(self, kind: Alteration) -> int:
        """How many recordings were altered in this way."""
        return sum(one.fault.code == kind for one in self.altered)

    def as_json(self) -> JsonObject:
        pauses = [pause.as_json() for pause in self.pauses]
        counts = self.counts
        return {
            "lost": self.lost and self.lost.as_json(),
            "failing": [failure.as_json() for failure in self.failing],
            "states": {str(state): number for state, number in counts.states.items()},
            "needs_person": counts.needs_person,
            "verdicts": {str(state): number for state, number in counts.verdicts.items()},
            **self.today.as_json(),
            "paused": {k: pauses[0][k] for k in ("reason", "since", "until", "by")} if pauses else None,
            "pauses": pauses,
            "silent": [fault.as_json() for fault in self.silent],
            "rate": self.rate,
            "backlog": counts.backlog,
            "eta_seconds": self.eta_seconds,
            "in_parts": [one.as_json() for one in self.in_parts],
            "last_scan_at": rfc3339(self.last_scan_at),
            "oldest_queued_at": rfc3339(self.oldest_queued_at),
            "waiting": [file.as_json() for file in self.waiting],
            "waiting_total": counts.waiting,
            "waiting_blocked": counts.waiting_blocked,
            "blocked": [one.as_json() for one in self.blocked],
            "blocked_total": counts.blocked,
            "stuck": [obstacle.as_json() for obstacle in self.stuck],
            "stuck_total": counts.stuck,
            **{str(kind): self.how_many(kind) for kind in Alteration},
            "altered": [one.as_json() for one in self.altered],
            "foreign": self.left.foreign,
            "foreign_first": [path_text(path) for path in self.left.first],
            "orphaned": self.left.orphaned,
            "daemon": self.working.as_json(),
            "outdated": self.outdated,
        }


def read_status(context: CommandContext) -> Status:
    """Read the state of the site now. If its database is lost, the result says so."""
    loss = context.loss()
    failing, working = context.failing(), context.working()
    silent = [folder.silence().as_fault() for folder in context.folders if not folder.answers]
    if silent and working.activity is Activity.RUNNING and not working.reason:
        working = replace(working, reason=silent[0].message)
    with context.store.reading() as books:
        counts = count(books)
        in_parts, submissions = books.parts.left_to_send()
        oldest = books.items.oldest_arrival(BACKLOG)
        windows = find_windows(books, context.config.limits.writes, context.clock.now())
        altered = list(books.filing.altered(_ALTERED_LOOKED_AT))
        waiting = books.waiting.listed()
        status = Status(
            lost=loss.as_fault() if loss else None,
            working=working,
            failing=failing,
            silent=silent,
            outdated=[],
            counts=counts,
            today=read_today(books, context.config.limits, context.clock.now()),
            pauses=books.pauses.active(),
            rate=describe(windows),
            eta_seconds=seconds_for(counts.backlog - in_parts + submissions, windows),
            last_scan_at=books.site.get("last_scan_at"),
            oldest_queued_at=oldest,
            in_parts=[_look_at(books, item, context.config.audio) for item in books.parts.begun(_IN_PARTS_SHOWN)],
            waiting=waiting,
            blocked=_find_blocked(books, waiting),
            stuck=books.obstacles.listed(_STUCK_SHOWN),
            altered=[],
            left=books.waiting.left(),
        )
    outdated = context.outdated() if working.holder is not None else []
    return replace(status, outdated=outdated, altered=find_altered(context, altered))


# What few sites need is loaded where they need it: a short command waits for it. Who runs for long, and may be
# upgraded meanwhile, has it anyway: a daemon files with both.


def _look_at(books: Books, item: Item, audio: AudioConfig) -> InParts:
    from watcher.journey.answer import read_answer  # noqa: PLC0415 — see above

    return InParts(item, read_answer(books, item, audio).progress())


def count(books: Books) -> Counts:
    """Count what there is of each kind."""
    return Counts(
        states=books.items.counts(books.tallies.items()),
        verdicts=books.verdicts.counts(),
        dismissed=books.items.dismissed(),
        waiting=books.waiting.total(),
        waiting_blocked=books.waiting.blocked(),
        blocked=count_blocked(books),
        stuck=books.obstacles.total(),
    )


def _find_blocked(books: Books, waiting: list[Waiting]) -> list[Blocked]:
    files = [
        Blocked(None, file.path, file.since, None, Fault(file.code, file.reason))
        for file in waiting
        if file.is_blocked
    ]
    return sorted([*files, *blocked_items(books, _BLOCKED_SHOWN)], key=lambda one: one.since)


def count_blocked(books: Books) -> int:
    """How many are not taken or sent until a person acts: files without an item, and queued items."""
    return books.waiting.blocked() + books.queue.how_many_blocked(UNSENDABLE)


def blocked_items(books: Books, limit: int) -> list[Blocked]:
    """The oldest queued items that cannot be sent because of their files or their destinations."""
    return [
        Blocked(item.id, item.path, item.arrived_at, item.due_at, item.fault)
        for item in books.queue.blocked(UNSENDABLE, limit)
        if item.fault is not None
    ]


def find_altered(context: CommandContext, items: Iterable[Item]) -> list[Altered]:
    """Those of the altered recordings that are still there."""
    altered = [Altered(item, fault) for item in items if (fault := explain(item)) is not None]
    if not altered:
        return []
    from watcher.journey.filed import find_alteration  # noqa: PLC0415 — see above

    now = context.clock.now()
    return [one for one in altered if find_alteration(context.filed_in(one.item), one.item, now) is not None]
