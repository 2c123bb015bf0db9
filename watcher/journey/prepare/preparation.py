"""The step that prepares: what a recording is sent as lies in the spool before it is queued to be sent."""

import secrets
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from watcher import logs
from watcher.domain import Fault, Item, Mode, Part, PartState, State
from watcher.errors import (
    CodecDied,
    FolderError,
    RecordingChanged,
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
from watcher.journey.arrive.foreign import find_raw
from watcher.journey.conclusion import conclude, settle, to_file
from watcher.journey.duplicates import complete_duplicates, follow_original
from watcher.journey.prepare import unsendable
from watcher.journey.prepare.made import Made, Order, Outcome, Span
from watcher.journey.prepare.makers import Maker
from watcher.journey.prepare.share import Job, Share, find_share
from watcher.journey.prepare.upkeep import tidy
from watcher.journey.site import Site
from watcher.journey.submit.caps import has_begun
from watcher.journey.submit.doubt import hint_to_decide
from watcher.journey.verdict_news import tell_if_known
from watcher.store import Books

_log = logs.get_logger(__name__)

IDLE = float("inf")
_NO_COPY = "no_copy"  # the codec's word for packets that cannot be taken over
_TOLERATED_SECONDS, _TOLERATED_SHARE = 1.0, 0.01  # between what a header tells and what is found
_TROUBLE_SECONDS = 5.0  # until the spool is tried again, after it took nothing


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
        self._may_have_work = True

    def may_have_work(self) -> bool:
        """Return whether what is sent or filed may give it work: not where the last look found nothing planned."""
        return self._may_have_work

    def step(self) -> float:
        """Prepare one recording, or refuse it, or put it off. Return the seconds until there may be another."""
        try:
            tidy(self._site)
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
        """Return whether there is a recording to be prepared now, and room for it."""
        try:
            return not isinstance(self._find_next(), float)
        except FolderError as error:
            self._wait_for_spool(error)
            return False

    def tidy(self) -> None:
        """Clear the spool of what is done with, for the end of a pass."""
        try:
            tidy(self._site)
        except FolderError as error:
            self._wait_for_spool(error)

    # One recording

    def _find_next(self) -> tuple[Job, Share] | float:
        """Return whose turn it is, and what is to be made of it; or the seconds until there may be something."""
        site, now = self._site, self._site.clock.now()
        if (wait := self._try_at - site.clock.monotonic()) > 0:
            return wait
        with site.store.reading() as books:
            item = books.parts.next_to_prepare(now, now + site.config.retry.max_seconds)
            again_at = books.obstacles.next_at(now)
            parts = [] if item is None else books.parts.of(item.id)
        self._may_have_work = item is not None
        if item is None or item.plan is None:
            return IDLE if again_at is None else max(again_at - now, 0.001)
        job = Job(item, item.plan, parts)
        share = find_share(site, job)
        return IDLE if share is None else (job, share)  # what is sent or filed makes room

    def _claim(self, item: Item) -> Item | None:
        """Take the item into this step's hands; None where it is not there any more as it was."""
        claim = secrets.token_hex(8)
        try:
            with self._site.store.writing() as books:
                books.items.change(item, State.PREPARING, self._site.clock.now(), claim=claim)
        except StaleItem:
            return None
        return replace(item, state=State.PREPARING, claim=claim)

    def _work(self, job: Job, share: Share) -> None:
        """Prepare it. Whatever goes wrong is this recording's, unless it is the spool's or the database's."""
        item = job.item
        try:
            if share.indices == ():
                self._pass_on(job)
            else:
                self._make(job, share)
        except StaleItem:
            pass  # it was taken away meanwhile; what was made of it goes with the next tidying
        except RecordingRefused as error:
            self._refuse(job, share, error)
        except (RecordingChanged, RecordingGone) as error:
            self._arrivals.recheck(item.path)
            self._obstruct(
                item, error.as_fault()
            )  # no more than it was withdrawn: else its disk was away just then
        except FolderError:  # the spool's: those of the drop folder are the recording's, see _run
            raise
        except WatcherError as error:
            if isinstance(error, StoreError) and not isinstance(error, StoreContradicted):
                raise
            self._obstruct(item, error.as_fault())
        except Exception as error:  # noqa: BLE001 — it is this recording's, and no other's
            if not self._stopping.is_set():
                _log.exception("recording.stumbled", item=item.id, path=item.path)
            self._obstruct(item, _unforeseen(error))

    def _pass_on(self, job: Job) -> None:
        """Queue what needs nothing made; file it where each of its parts has come to its end before."""
        with self._site.store.writing() as books:
            for part in job.parts:
                if part.state is PartState.SUBMITTING:  # by somebody who lost the item: nobody knows what came
                    books.parts.change(part, PartState.QUEUED, in_doubt=True)
            facts = conclude(job.item, job.parts)
            if facts is None:
                self._queue(books, job, "its parts are there", job.parts)
            else:
                after = State(str(facts.pop("state")))
                note = "none of its parts is to be sent"
                books.items.change(job.item, after, self._site.clock.now(), note, **facts)

    def _make(self, job: Job, share: Share) -> None:
        """Do the one effect outside, and write down what came of it.

        The files lie in the spool, synced, before the books name them: a crash in between leaves files that are
        made again, never a part without its file.
        """
        site, item = self._site, job.item
        order = Order(
            stem=item.id,
            max_bytes=site.config.limits.max_upload_bytes,
            channels=site.config.audio.channels,
            spans=tuple(map(_span, job.parts)) or None,
            indices=share.indices,
            keep_bytes=share.keep_bytes,
            raw=find_raw(site.config.audio, item.path) if _is_raw(item) else None,
        )
        with site.spool.making(item.id) as folder:
            try:
                outcome = self._run(item, job.plan.mode, order, folder)
            except RecordingRefused as error:
                if error.code != _NO_COPY or job.parts:
                    raise
                # Its headers promised packets that can be taken over as they are: only decoding is left.
                job = replace(job, plan=replace(job.plan, mode=Mode.FLAC))
                outcome = self._run(item, Mode.FLAC, order, folder)
            made = {one.span.index: one for one in outcome.made}
            if job.parts:
                self._make_again(job, made, folder)
            else:
                new = self._new_parts(item, outcome, made)
                site.spool.keep(folder, _names(item, made.values()))
                warning = _lacking(item, outcome.facts.seconds)
                with site.store.writing() as books:
                    books.parts.add(new)
                    self._queue(books, job, f"prepared: {_in_parts(new)}", new, warning=warning)
        _log.info("recording.prepared", item=item.id, path=item.path, made=len(made))

    def _run(self, item: Item, mode: Mode, order: Order, folder: int) -> Outcome:
        """Return the maker's outcome, made of exactly the bytes that were examined."""
        drop = self._site.drop
        try:
            file, fingerprint = drop.open(item.path)
        except FolderError as error:
            if (trouble := self._site.find_trouble([drop])) is not None:
                self._site.pause_for_folder(trouble)
            raise RecordingUnreachable(error.message, hint=error.hint) from error
        with file:
            if fingerprint != item.fingerprint or hash_of(file) != item.sha256:
                raise RecordingChanged("it changed after it was examined")
            try:
                outcome = self._maker.make(file, mode, order, folder)
            except CodecDied as error:
                _log.warning("codec.died", item=item.id, path=item.path, reason=error.message)
                try:
                    outcome = self._maker.make(file, mode, order, folder)
                except CodecDied as again:
                    raise unsendable.undecodable(again) from again
        if drop.fingerprint(item.path) != fingerprint:
            raise RecordingChanged("it changed while its parts were made")
        return outcome

    def _new_parts(self, item: Item, outcome: Outcome, made: Mapping[int, Made]) -> list[Part]:
        """Return all parts, as they are to be written down. RecordingRefused: without sound, too short or long."""
        audio, facts = self._site.config.audio, outcome.facts
        sent = [span for span in outcome.spans if not span.silent]
        if not sent or facts.has_sound is False:
            raise unsendable.no_sound()
        if facts.seconds < audio.min_seconds:
            raise unsendable.too_short(facts.seconds, audio.min_seconds)
        if len(sent) > audio.max_parts:
            raise unsendable.too_long(len(sent), audio.max_parts)
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
            return replace(part, state=PartState.REFUSED, fault=unsendable.SILENT)
        return part if made is None else replace(part, **self._facts(item, made))

    def _facts(self, item: Item, made: Made) -> dict[str, Any]:
        return {
            "name": None if made.name is None else _name(item, made),
            "how": made.how,
            "sha256": made.sha256,
            "size": made.size,
            "media_type": made.media_type,
            "extension": made.extension,
            "proof": made.proof,
            "content_key": self._site.content_key(made.sha256),
        }

    def _make_again(self, job: Job, made: Mapping[int, Made], folder: int) -> None:
        """Keep parts whose boundaries are committed, as they were, or as they are made by now.

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
                books.parts.change(before[index], PartState.HELD, name=None, fault=fault)
            books.items.change(item, State.HELD, now, fault.message, fault=fault, in_doubt=True)
            books.obstacles.remove(item.id)
            follow_original(books, replace(item, state=State.HELD, fault=fault), now)
        _log.warning("recording.held", item=item.id, path=item.path, reason=fault.message, hint=fault.hint)

    def _queue(self, books: Books, job: Job, note: str, parts: Sequence[Part], **changes: Any) -> None:
        plan = replace(job.plan, most=sum(not part.silent for part in parts))
        now = self._site.clock.now()
        books.items.change(job.item, State.QUEUED, now, note, plan=plan, fault=None, **changes)
        if books.obstacles.remove(job.item.id):  # what was mended may have been in the way of others too
            books.obstacles.bring_forward(now)

    # What stands in the way

    def _refuse(self, job: Job, share: Share, error: RecordingRefused) -> None:
        item, now = job.item, self._site.clock.now()
        with suppress(StaleItem), self._site.store.writing() as books:
            if has_begun(list(job.parts)):
                self._refuse_rest(books, job, share, error)
            else:
                facts = to_file(State.FAILED, item, error.as_fault())
                after = State(str(facts.pop("state")))
                books.items.change(item, after, now, error.message, **facts)
                follow_original(books, replace(item, state=after, **facts), now)
            books.obstacles.remove(item.id)
        _log.warning("recording.refused", item=item.id, path=item.path, error=error.code, reason=error.message)

    def _refuse_rest(self, books: Books, job: Job, share: Share, error: RecordingRefused) -> None:
        """Go on without the parts that cannot be made again, since others of the recording may be paid for.

        Whether one of them that is in doubt was paid for, nobody knows: a person must decide on that.
        """
        item, now, lost = job.item, self._site.clock.now(), error.as_fault()
        unmade = [part for part in job.parts if part.index in (share.indices or ())]
        doubtful = [part.index for part in unmade if part.in_doubt]
        fault = _unlike(item, doubtful) if doubtful else None
        for part in unmade:
            if part.in_doubt:
                books.parts.change(part, PartState.HELD, name=None, fault=fault)
            elif fault is None:  # else they are tried again once it is decided
                books.parts.change(part, PartState.REFUSED, name=None, fault=lost)
        facts = settle(item, books.parts.of(item.id), {"fault": fault, "due_at": now})
        moved, after = replace(item, **facts), State(str(facts.pop("state")))
        books.items.change(item, after, now, fault.message if fault else error.message, **facts)
        if after is not State.QUEUED:
            follow_original(books, moved, now)
            complete_duplicates(books, moved, now)
        tell_if_known(books, moved, self._site.config.audio, now)

    def _obstruct(self, item: Item, fault: Fault) -> None:
        """Write down what stands in its way, if it still is to be prepared, and put it off."""
        site, now = self._site, self._site.clock.now()
        if self._stopping.is_set():
            return  # what it was in the middle of was cut off
        with site.store.writing() as books:
            there, retry = books.items.get(item.id), site.config.retry
            if there is None or (there.state, there.claim) != (item.state, item.claim):
                return
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
        """Put off all preparation. The recording whose turn it is shows why; it is not to blame."""
        site = self._site
        self._try_at = site.clock.monotonic() + _TROUBLE_SECONDS
        with site.store.reading() as books:
            item = books.parts.next_to_prepare(site.clock.now(), 0.0)
        if item is not None:
            self._obstruct(item, error.as_fault())
        if self._site.reminders.is_due("spool", error.message):
            _log.warning("spool.unusable", reason=error.message, hint=error.hint)
        return _TROUBLE_SECONDS


def _lacking(item: Item, found_seconds: float) -> str | None:
    """Return the item's warning, and with it how much of its sound no decoder found, if any."""
    told = None if item.audio is None else item.audio.seconds
    if told is None or found_seconds >= told - max(_TOLERATED_SECONDS, told * _TOLERATED_SHARE):
        return item.warning
    note = f"Only {found_seconds:,.1f} of the {told:,.1f} s that its header tells are in it: the rest is damaged."
    return " ".join(filter(None, [item.warning, note]))


def _is_raw(item: Item) -> bool:
    return item.audio is not None and item.audio.container == "raw"


def _span(part: Part) -> Span:
    return Span(part.index, part.channel, part.start, part.end, part.start_seconds, part.end_seconds, part.silent)


def _name(item: Item, made: Made) -> str:
    """Return what the part's file is called in the spool."""
    return f"{item.id}-{made.span.index}{made.extension}"


def _names(item: Item, made: Iterable[Made]) -> dict[str, str]:
    return {one.name: _name(item, one) for one in made if one.name is not None}


def _listed(indices: Iterable[int]) -> str:
    several = list(map(str, sorted(indices)))
    return f"part{'' if len(several) == 1 else 's'} {', '.join(several)}"


def _in_parts(parts: Sequence[Part]) -> str:
    sent = sum(not part.silent for part in parts)
    return f"{sent:,} part{'' if sent == 1 else 's'}"


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
