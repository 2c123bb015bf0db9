"""The step that prepares: what a recording is sent as lies in the spool before it is queued to be sent."""

import secrets
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from watcher import logs
from watcher.domain import IN_DROP, UNSETTLED, Fault, Item, Mode, Part, PartState, Planned, State
from watcher.errors import (
    CodecDied,
    FolderError,
    RecordingChanged,
    RecordingError,
    RecordingGone,
    RecordingRefused,
    RecordingUnreachable,
    StaleItem,
    StoreContradicted,
    StoreError,
    WatcherError,
)
from watcher.folders import hash_of
from watcher.journey.arrive.arrivals import Arrivals
from watcher.journey.conclusion import conclude
from watcher.journey.duplicates import follow_original, to_file
from watcher.journey.prepare.made import Made, Order, Outcome, Span
from watcher.journey.prepare.makers import Maker
from watcher.journey.site import Site
from watcher.journey.submit.doubt import hint_to_decide
from watcher.store import Books
from watcher.text import rfc3339

_log = logs.get_logger(__name__)

IDLE = float("inf")
_HEADER_BYTES = 4096  # more than a part has beside its sound
_TROUBLE_SECONDS = 5.0  # until the spool is tried again, after it took nothing


@dataclass(frozen=True, slots=True)
class _Room:
    """How many bytes of parts may be made now."""

    free: int
    is_empty: bool  # nothing lies there that makes room by being sent
    there: frozenset[str]  # the names of all parts
    needless: dict[str, int]  # those whose answer is known, and their sizes


@dataclass(frozen=True, slots=True)
class _Job:
    """A recording whose turn it is. `parts`: those that are written down, where it was prepared before."""

    item: Item
    plan: Planned
    parts: Sequence[Part]


@dataclass(frozen=True, slots=True)
class _Share:
    """What is to be made now: parts by their indices, null for all; and how many bytes of them are kept."""

    indices: tuple[int, ...] | None
    keep_bytes: int | None


class Preparation:
    """The step. It has a thread of its own, so that nothing waits for it that needs no preparation.

    It works only so far ahead as `audio.spool_bytes` allow, the oldest arrival first. A recording that is larger
    is prepared part by part: as much as there is room for, and again when that is sent.
    """

    def __init__(self, site: Site, arrivals: Arrivals, maker: Maker, stopping: threading.Event) -> None:
        self._site = site
        self._arrivals = arrivals
        self._maker = maker
        self._stopping = stopping
        self._try_at = 0.0  # monotonic: the spool took nothing

    def step(self) -> float:
        """One recording is prepared, or refused, or cannot be now. Seconds until there may be another."""
        try:
            self.tidy()
            found = self._find_next()
            if isinstance(found, float):
                return found
            job, share = found
            claimed = self._claim(job.item)
            if claimed is not None:
                self._work(replace(job, item=claimed), share)
        except FolderError as error:  # of the spool as a whole, and nobody's fault
            return self._wait_for_spool(error)
        return 0.0

    def is_due(self) -> bool:
        """Whether there is a recording to be prepared now, and room for it."""
        try:
            return not isinstance(self._find_next(), float)
        except FolderError as error:
            self._wait_for_spool(error)
            return False

    def tidy(self) -> None:
        """The spool has nothing of what is filed, withdrawn or failed, and every identifier beside its part.

        What is of no item known here stays: it may be all that is left of what a lost database had paid for.
        """
        spool = self._site.spool
        ids = spool.items()
        if not ids:
            return
        with self._site.store.reading() as books:
            states = books.parts.states_of(ids)
            accepted = [p for p in books.parts.of_live() if p.state is PartState.ACCEPTED and p.item_id in ids]
        if over := {item_id for item_id, state in states.items() if state not in IN_DROP}:
            spool.clear(over)
        noted = spool.noted() if accepted else set()
        for part in accepted:
            if part.name is not None and part.name not in noted:
                keep_identifier(self._site, part)

    # One recording

    def _find_next(self) -> tuple[_Job, _Share] | float:
        """Whose turn it is, and what is to be made of it; or seconds until there may be something."""
        site, now = self._site, self._site.clock.now()
        if (wait := self._try_at - site.clock.monotonic()) > 0:
            return wait
        with site.store.reading() as books:
            item = books.parts.next_to_prepare(now, now + site.config.retry.max_seconds)
            again_at = books.obstacles.next_at(now)
            parts = [] if item is None else books.parts.of(item.id)
        if item is None or item.plan is None:
            return IDLE if again_at is None else max(again_at - now, 0.001)
        job = _Job(item, item.plan, parts)
        share = self._find_share(job)
        return IDLE if share is None else (job, share)  # what is sent or filed makes room

    @property
    def _limit(self) -> int:
        return self._site.config.limits.max_upload_bytes

    def _claim(self, item: Item) -> Item | None:
        """The item is in this step's hands; null where it is not there any more as it was."""
        claim = secrets.token_hex(8)
        try:
            with self._site.store.writing() as books:
                books.items.change(item, State.PREPARING, self._site.clock.now(), claim=claim)
        except StaleItem:
            return None
        return replace(item, state=State.PREPARING, claim=claim)

    def _work(self, job: _Job, share: _Share) -> None:
        """Whatever goes wrong with it is this recording's, unless it is the spool's or the database's."""
        item = job.item
        try:
            if share.indices == ():
                self._pass_on(job)
            else:
                self._make(job, share)
        except StaleItem:
            pass  # it was taken away meanwhile; what was made of it goes with the next tidying
        except RecordingRefused as error:
            self._refuse(item, error)
        except (RecordingChanged, RecordingGone):
            self._arrivals.recheck(item.path)
            self._obstruct_if_there(item, RecordingChanged("another file lies there than was vetted"))
        except FolderError as error:  # the spool's: those of the drop folder are the recording's, see _run
            self._obstruct(item, error.as_fault())
            raise
        except WatcherError as error:
            if isinstance(error, StoreError) and not isinstance(error, StoreContradicted):
                raise
            self._obstruct(item, error.as_fault())
        except Exception as error:  # noqa: BLE001 — it is this recording's, and no other's
            if not self._stopping.is_set():
                _log.exception("recording.stumbled", item=item.id, path=item.path)
            self._obstruct(item, _unforeseen(error))

    def _pass_on(self, job: _Job) -> None:
        """Nothing is to be made: it is queued, or filed where each of its parts has come to its end before."""
        with self._site.store.writing() as books:
            facts = conclude(job.item, job.parts)
            if facts is None:
                self._queue(books, job, "its parts are there", job.parts)
            else:
                after = State(str(facts.pop("state")))
                note = "none of its parts is to be sent"
                books.items.change(job.item, after, self._site.clock.now(), note, **facts)

    def _make(self, job: _Job, share: _Share) -> None:
        """The one effect outside, and what came of it in the books."""
        site, item = self._site, job.item
        order = Order(
            stem=item.id,
            max_bytes=self._limit,
            channels=site.config.audio.channels,
            spans=tuple(map(_span, job.parts)) or None,
            indices=share.indices,
            keep_bytes=share.keep_bytes,
        )
        with site.spool.making(item.id) as folder:
            outcome = self._run(item, job.plan.mode, order, folder)
            made = {one.span.index: one for one in outcome.made}
            if job.parts:
                self._make_again(job, made, folder)
            else:
                new = self._new_parts(item, outcome, made)
                site.spool.keep(folder, _names(item, made.values()))
                with site.store.writing() as books:
                    books.parts.add(new)
                    self._queue(books, job, f"prepared: {_in_parts(new)}", new)
        _log.info("recording.prepared", item=item.id, path=item.path, made=len(made))

    def _run(self, item: Item, mode: Mode, order: Order, folder: int) -> Outcome:
        """The maker's outcome, from exactly the bytes that were vetted."""
        drop = self._site.drop
        try:
            file, fingerprint = drop.open(item.path)
        except FolderError as error:
            if (trouble := self._site.find_trouble([drop])) is not None:
                self._site.pause_for_folder(trouble)
            raise RecordingUnreachable(error.message, hint=error.hint) from error
        with file:
            if fingerprint != item.fingerprint or hash_of(file) != item.sha256:
                raise RecordingChanged("it changed after it was vetted")
            try:
                outcome = self._maker.make(file, mode, order, folder)
            except CodecDied as error:
                _log.warning("codec.died", item=item.id, path=item.path, reason=error.message)
                try:
                    outcome = self._maker.make(file, mode, order, folder)
                except CodecDied as again:
                    raise _undecodable(again) from again
        if drop.fingerprint(item.path) != fingerprint:
            raise RecordingChanged("it changed while its parts were made")
        return outcome

    def _new_parts(self, item: Item, outcome: Outcome, made: Mapping[int, Made]) -> list[Part]:
        """All parts, as they are to be written down. RecordingRefused: none has sound, or they are too many."""
        audio, facts = self._site.config.audio, outcome.facts
        sent = [span for span in outcome.spans if not span.silent]
        if not sent or facts.has_sound is False:
            raise _no_sound()
        if facts.seconds < audio.min_seconds:
            raise _too_short(facts.seconds, audio.min_seconds)
        if len(sent) > audio.max_parts:
            raise _too_long(len(sent), audio.max_parts)
        return [self._new_part(item, span, made.get(span.index)) for span in outcome.spans]

    def _new_part(self, item: Item, span: Span, made: Made | None) -> Part:
        part = Part(
            item_id=item.id,
            index=span.index,
            channel=span.channel,
            start=span.start,
            end=span.end,
            start_seconds=span.start_seconds,
            end_seconds=span.end_seconds,
            silent=span.silent,
        )
        if span.silent:
            return replace(part, state=PartState.REFUSED, fault=_SILENT)
        return part if made is None else replace(part, **self._facts(item, made))

    def _facts(self, item: Item, made: Made) -> dict[str, Any]:
        return {
            "name": _name(item, made),
            "how": made.how,
            "sha256": made.sha256,
            "size": made.size,
            "media_type": made.media_type,
            "extension": made.extension,
            "proof": made.proof,
            "content_key": self._site.content_key(made.sha256),
        }

    def _make_again(self, job: _Job, made: Mapping[int, Made], folder: int) -> None:
        """Parts whose boundaries are committed lie in the spool, as they were, or as they are made by now.

        What went out and is in doubt may only be sent again as the very same bytes: where these do not come out
        any more, as with another version of a decoder, a person must decide.
        """
        site, item, now = self._site, job.item, self._site.clock.now()
        before = {part.index: part for part in job.parts}
        unlike = [n for n, one in made.items() if before[n].in_doubt and before[n].sha256 != one.sha256]
        alike = {index: one for index, one in made.items() if index not in unlike}
        site.spool.keep(folder, _names(item, alike.values()))
        with site.store.writing() as books:
            for index, one in alike.items():
                books.parts.change(before[index], before[index].state, **self._facts(item, one))
            if not unlike:
                self._queue(books, job, f"made again: {_listed(made)}", job.parts)
                return
            fault = _unlike(item, unlike)
            for index in unlike:
                books.parts.change(before[index], PartState.HELD, fault=fault)
            books.items.change(item, State.HELD, now, fault.message, fault=fault, in_doubt=True)
            books.obstacles.remove(item.id)
            follow_original(books, replace(item, state=State.HELD, fault=fault), now)
        _log.warning("recording.held", item=item.id, path=item.path, reason=fault.message, hint=fault.hint)

    def _queue(self, books: Books, job: _Job, note: str, parts: Sequence[Part]) -> None:
        plan = replace(job.plan, most=sum(not part.silent for part in parts))
        books.items.change(job.item, State.QUEUED, self._site.clock.now(), note, plan=plan, fault=None)
        books.obstacles.remove(job.item.id)

    # What stands in the way

    def _refuse(self, item: Item, error: RecordingRefused) -> None:
        now = self._site.clock.now()
        facts = to_file(State.FAILED, item, error.as_fault())
        after = State(str(facts.pop("state")))
        with suppress(StaleItem), self._site.store.writing() as books:
            books.items.change(item, after, now, error.message, **facts)
            books.obstacles.remove(item.id)
            follow_original(books, replace(item, state=after, **facts), now)
        _log.warning("recording.refused", item=item.id, path=item.path, error=error.code, reason=error.message)

    def _obstruct_if_there(self, item: Item, error: RecordingError) -> None:
        """Nobody could tell that it was taken away, as where its disk was away then: it is tried later."""
        with self._site.store.reading() as books:
            is_there = books.items.get(item.id) == item
        if is_there:
            self._obstruct(item, error.as_fault())

    def _obstruct(self, item: Item, fault: Fault) -> None:
        site, now = self._site, self._site.clock.now()
        if self._stopping.is_set():
            return  # what it was in the middle of was cut off
        with site.store.writing() as books:
            retry = site.config.retry
            is_news = books.obstacles.put(item.id, fault, now, retry.first_seconds, retry.max_seconds)
        if is_news:
            _log.warning(
                "recording.stuck",
                item=item.id,
                path=item.path,
                state=item.state,
                reason=fault.message,
                hint=fault.hint,
            )

    def _wait_for_spool(self, error: FolderError) -> float:
        self._try_at = self._site.clock.monotonic() + _TROUBLE_SECONDS
        if self._site.reminders.is_due("spool", error.message):
            _log.warning("spool.unusable", reason=error.message, hint=error.hint)
        return _TROUBLE_SECONDS

    # Room

    def _find_room(self) -> _Room:
        """What a person must decide on takes no room, nor what is in doubt: either may lie there for long."""
        site = self._site
        sizes = site.spool.sizes()
        with site.store.reading() as books:
            parts = {part.name: part for part in books.parts.of_live()}
            states = books.parts.states_of({part.item_id for part in parts.values()})
        taken, needless = 0, {}
        for name, size in sizes.items():
            part = parts.get(name)
            if part is None or part.in_doubt or states.get(part.item_id) is State.HELD:
                continue
            if part.state in UNSETTLED:
                taken += size
            else:
                needless[name] = size
        return _Room(site.config.audio.spool_bytes - taken, taken == 0, frozenset(sizes), needless)

    def _find_share(self, job: _Job) -> _Share | None:
        """Which parts are to be made now; null while there is no room. What needs none any more makes it."""
        room, most = self._find_room(), self._site.config.audio.spool_bytes
        if job.parts:
            missing = [p for p in job.parts if p.state is PartState.QUEUED and p.name not in room.there]
            sizes = {p.index: 0 if p.in_doubt else p.size or self._limit for p in missing}
            indices = _fitting(sizes, room.free, at_least_one=room.is_empty)
            share = _Share(indices, None) if indices or not missing else None
            wanted = sum(sizes[index] for index in indices)
        else:
            expected = _expected(job.item, job.plan, self._limit)
            wanted = min(expected, max(room.free, 0))
            share = _Share(None, None) if expected <= room.free else None
            if expected > most and (room.is_empty or room.free >= self._limit):
                share = _Share(None, wanted)  # part by part: it would never fit as a whole
        if share is not None and wanted > room.free - sum(room.needless.values()):
            self._site.spool.remove(room.needless)
        return share


def keep_identifier(site: Site, part: Part) -> None:
    """Beside the part lies what it is and that it is paid for, so that a lost database does not lose that.

    May be repeated. FolderRefuses, of the spool.
    """
    if part.name is None:
        return
    service = site.config.identifai
    site.spool.note(
        part.name,
        {
            "item": part.item_id,
            "part": part.index,
            "channel": part.channel,
            "start_seconds": part.start_seconds,
            "end_seconds": part.end_seconds,
            "start": part.start,
            "end": part.end,
            "how": part.how,
            "sha256": part.sha256,
            "size": part.size,
            "content_key": part.content_key,
            "identifier": part.identifier,
            "submitted_at": rfc3339(part.submitted_at),
            "base_url": service.base_url,
            "account": service.account,
        },
    )


def _fitting(sizes: Mapping[int, int], free: int, *, at_least_one: bool) -> tuple[int, ...]:
    """The first of the parts, as many as fit."""
    chosen: list[int] = []
    for index, size in sizes.items():
        if size > free and not (at_least_one and not chosen):
            break
        chosen.append(index)
        free -= size
    return tuple(chosen)


def _expected(item: Item, plan: Planned, limit: int) -> int:
    """How many bytes all its parts may have."""
    whole = max(plan.most, 1) * limit
    return whole if plan.mode is Mode.FLAC else min(whole, item.size + plan.most * _HEADER_BYTES)


def _name(item: Item, made: Made) -> str | None:
    return None if made.name is None else f"{item.id}-{made.span.index}{made.extension}"


def _names(item: Item, made: Iterable[Made]) -> dict[str, str]:
    """The files that were made, and what they are called in the spool."""
    return {one.name: f"{item.id}-{one.span.index}{one.extension}" for one in made if one.name is not None}


def _span(part: Part) -> Span:
    return Span(part.index, part.channel, part.start, part.end, part.start_seconds, part.end_seconds, part.silent)


def _listed(indices: Iterable[int]) -> str:
    several = list(map(str, sorted(indices)))
    return f"part{'' if len(several) == 1 else 's'} {', '.join(several)}"


def _in_parts(parts: Sequence[Part]) -> str:
    sent = sum(not part.silent for part in parts)
    return f"{sent:,} part{'' if sent == 1 else 's'}"


_SILENT = Fault("no_sound", "There is no sound in this part: it was not sent, and is not judged.")


def _no_sound() -> RecordingRefused:
    return RecordingRefused(
        "no_sound",
        "There is no sound in it: every sample is silent.",
        hint="It may be of a call that nobody answered. If it should have sound, export it again. "
        "Nothing was sent or paid.",
    )


def _too_short(seconds: float, least: float) -> RecordingRefused:
    return RecordingRefused(
        "too_short",
        f"The recording lasts {seconds:.1f} s, less than {least:g} s (audio.min_seconds).",
        hint="Nothing was sent or paid. To have it sent all the same, lower audio.min_seconds and retry it.",
    )


def _too_long(parts: int, most: int) -> RecordingRefused:
    return RecordingRefused(
        "too_long",
        f"The recording would take {parts:,} submissions, more than {most:,} (audio.max_parts).",
        hint="Nothing was sent or paid. To have it sent all the same, raise audio.max_parts and retry it.",
    )


def _undecodable(error: CodecDied) -> RecordingRefused:
    return RecordingRefused(
        "undecodable",
        f"The recording cannot be decoded: {error.message}.",
        hint="Export it again, and play it before you drop it. Nothing was sent or paid.",
    )


def _unlike(item: Item, indices: Collection[int]) -> Fault:
    return Fault(
        "in_doubt",
        f"{_listed(indices).capitalize()} of it went out, and no answer came: it may have been charged. The same "
        "bytes cannot be made again, as after a change of the decoder, so it was not sent again.",
        hint_to_decide(item),
    )


def _unforeseen(error: Exception) -> Fault:
    return Fault(
        "unforeseen",
        f"Nobody foresaw this: {type(error).__name__}",
        "It is tried again. Please report it, with what the log says.",
    )
