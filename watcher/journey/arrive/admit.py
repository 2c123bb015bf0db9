"""Second: examine and hash a settled file, and make it an item, before anything is paid for."""

import os
import secrets
import threading
from dataclasses import dataclass, replace
from typing import Any

from watcher import logs
from watcher.audio import Completeness, Examination
from watcher.config import Config
from watcher.domain import UNSENT, UNTOUCHED, Audio, Fingerprint, Item, Mode, PartState, Planned, State
from watcher.errors import (
    FolderError,
    RecordingBusy,
    RecordingChanged,
    RecordingError,
    RecordingGone,
    RecordingRefused,
    RecordingUnreachable,
    StaleItem,
    StoreError,
    is_of_the_store,
)
from watcher.folders import hash_of
from watcher.journey.arrive.arrivals import Arrivals
from watcher.journey.arrive.foreign import is_left
from watcher.journey.arrive.lack import lacking
from watcher.journey.arrive.recheck import withdraw
from watcher.journey.arrive.registry import Settled
from watcher.journey.conclusion import to_file
from watcher.journey.duplicates import find_buried, follow, follow_buried, is_accepted
from watcher.journey.filed import lies_there
from watcher.journey.loss import Loss, find_loss_noted
from watcher.journey.prepare.codec import has_codec
from watcher.journey.prepare.judgement import judge, refuse_unread
from watcher.journey.prepare.plan import may_be_sent
from watcher.journey.site import Site
from watcher.journey.submit.doubt import after_loss, after_return
from watcher.mounts import part_of
from watcher.store import Books

_log = logs.get_logger(__name__)

_BATCH = 64  # arrivals in one commit
_BATCH_BYTES = 64_000_000  # fewer if they are large, so that the first need not wait long
_SHORT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Examined:
    """A recording that can be submitted and filed, or the reason why it cannot be submitted."""

    fingerprint: Fingerprint
    sha256: str | None
    examination: Examination | None
    refusal: RecordingRefused | None
    warning: str | None = None
    plan: Planned | None = None  # how it is made acceptable; None: it is sent as it is
    owner: int | None = None  # the uid whose file it is; None: it was not opened
    last_change: int = 0  # the number of the latest change in the database before it was read
    has_identity: bool = True  # false: its file system may change its inode or times
    left_failed: tuple[str, ...] = ()  # ids of failed items with these bytes that are no longer in failed/
    is_doubtful: bool = False  # it was there when the database was lost, and may have been sent


def examine_file(site: Site, path: bytes, expected: Fingerprint) -> Examined:
    """Read the recording once, whole, and check that it can be moved. Whether done/ can take it is asked later.

    Raises RecordingUnreachable, RecordingChanged or RecordingGone; FolderError where the drop folder is away.
    """
    config = site.config
    site.drop.check_gives(path)
    if (refusal := refuse_unread(config, expected.size)) is not None:
        return Examined(expected, None, None, refusal)
    file, fingerprint = site.drop.open(path)
    with file:
        if fingerprint != expected:
            raise RecordingChanged("it changed after it had settled")
        # Name it as it will be when somebody reads the message.
        judged = judge(config, file, fingerprint.size, path, name=os.path.join(site.failed.root, path))
        digest: str | None = None
        if judged.refusal is None or fingerprint.size <= config.limits.max_upload_bytes:
            file.seek(0)
            digest = hash_of(file)
        owner = os.fstat(file.fileno()).st_uid
    if site.drop.fingerprint(path) != fingerprint:
        raise RecordingChanged("it changed while it was read")
    plan: Planned | None = None
    if judged.plan is not None and judged.plan.fault is None and judged.plan.mode is not Mode.AS_IS:
        plan = Planned(judged.plan.mode, judged.plan.most, judged.plan.reason)
    found = judged.examination
    return Examined(fingerprint, digest, found, judged.refusal, _warning(found), plan, owner)


def _warning(examination: Examination | None) -> str | None:
    """Return what a reader of the verdict should know about a recording that is sent."""
    if examination is None:
        return None
    warnings = []
    if examination.completeness is Completeness.SHORT:
        by = lacking(examination.missing_bytes)
        warnings.append(f"The recording is cut short{by} by its own header, and was sent (arrivals.lengths).")
    if examination.seconds is not None and examination.seconds < _SHORT_SECONDS:
        seconds = f"{examination.seconds:.1f} s"
        warnings.append(f"The recording lasts {seconds}; the service suggests 10 s, and at least 3 s.")
    return " ".join(warnings) or None


class Admission:
    """The step from a settled file to an item."""

    def __init__(self, site: Site, arrivals: Arrivals, stopping: threading.Event) -> None:
        self._site = site
        self._arrivals = arrivals
        self._stopping = stopping
        self._loss: Loss | None = None
        self._has_failed = True  # whether there was any failed item when the batch was begun

    def step(self) -> float:
        """Make items of some settled files. Return 0 when there may be more, infinity when there were none."""
        batch = self._arrivals.take(_BATCH)
        if not batch:
            return float("inf")
        while batch:
            if self._stopping.is_set():  # what was examined is admitted; the next start sees the rest again
                self._arrivals.registry.give_back(batch)
                break
            size, taken = 0, 0
            examined: list[tuple[Settled, Examined]] = []
            try:
                with self._site.store.reading() as books:
                    last_change, self._loss = books.items.last_change(), find_loss_noted(books)
                    self._has_failed = bool(books.items.in_state(State.FAILED, limit=1))
                while taken < len(batch) and size < _BATCH_BYTES and not self._stopping.is_set():
                    settled = batch[taken]
                    taken += 1
                    size += settled.fingerprint.size
                    if (one := self._examine(settled)) is not None:
                        examined.append((settled, replace(one, last_change=last_change)))
                self._admit(examined)
            except Exception:
                self._arrivals.registry.give_back(batch)  # nobody else knows about them
                raise
            del batch[:taken]
        return 0.0

    def _examine(self, settled: Settled) -> Examined | None:
        try:
            examined = examine_file(self._site, settled.path, settled.fingerprint)
            if is_left(self._site.config, settled.path, settled.fingerprint.size, examined.refusal):
                self._arrivals.dismiss(settled)  # it looked like a recording when it settled
                return None
            has_identity = part_of(self._site.drop.root, settled.path).keeps_identity
            loss = self._loss
            is_doubtful = loss is not None and self._site.drop.there_since(settled.path) <= loss.until
            return replace(
                examined,
                has_identity=has_identity,
                left_failed=self._find_left(examined),
                is_doubtful=is_doubtful,
            )
        except (RecordingChanged, RecordingGone):
            self._arrivals.dismiss(settled)
        except RecordingUnreachable as error:
            self._arrivals.registry.postpone(settled, error.code, f"{error.message}; {error.hint}")
        except FolderError as error:
            if (trouble := self._site.find_trouble([self._site.drop])) is not None:
                self._site.pause_for_folder(trouble)
            self._arrivals.registry.postpone(settled, error.code, f"{error.message}; {error.hint}")
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 — it postpones this file alone
            self._arrivals.registry.stumble(settled.path, error)
        return None

    def _find_left(self, examined: Examined) -> tuple[str, ...]:
        """Return the ids for Examined.left_failed. Called before the transaction: a disk may be slow.

        Raises RecordingUnreachable where this cannot be told, as while failed/ is away: only this file waits.
        """
        if examined.sha256 is None or not self._has_failed:  # what fails from now on is not what has settled
            return ()
        failed = self._site.failed
        with self._site.store.reading() as books:
            with_bytes = books.items.failed_with(examined.sha256)
            known = [one for one in with_bytes if one.filed_as is not None and one.removed is None]
        try:
            if known:
                self._site.recognise(failed)  # on a bare mount point everything would seem to be gone
            return tuple(one.id for one in known if not lies_there(failed, one))
        except (FolderError, RecordingUnreachable) as error:
            raise RecordingUnreachable(
                f"its bytes failed before, and it cannot be told whether this is that recording: {error.message}",
                hint=error.hint,
            ) from error

    def _admit(self, examined: list[tuple[Settled, Examined]]) -> None:
        """Give each a row, in one commit; where the database refuses one of them, each in a commit of its own."""
        try:
            self._write(examined)
        except Exception as error:
            if is_of_the_store(error):
                raise  # the database's own trouble
            if len(examined) > 1:
                for one in examined:
                    self._admit([one])
            elif isinstance(error, StaleItem):
                self._arrivals.dismiss(examined[0][0])  # somebody else was faster: look at it anew
            else:
                self._arrivals.registry.stumble(examined[0][0].path, error)

    def _write(self, examined: list[tuple[Settled, Examined]]) -> None:
        admitted: list[tuple[Settled, Item | None]] = []
        postponed: list[tuple[Settled, RecordingError]] = []
        with self._site.store.writing() as books:
            for settled, one in examined:
                try:
                    admitted.append((settled, admit(self._site, books, settled, one)))
                except RecordingError as error:
                    postponed.append((settled, error))
        for settled, reason in postponed:
            self._arrivals.registry.postpone(settled, reason.code, reason.message)
        # Only now, after the commit, does the scan let go of the file.
        for settled, item in admitted:
            self._arrivals.registry.admitted(settled)
            if item is not None:
                _log.info(
                    "recording.queued" if item.fault is None else "recording.refused",
                    item=item.id,
                    path=item.path,
                    size=item.size,
                    state=item.state,
                    duplicate_of=item.duplicate_of,
                    error=item.fault.code if item.fault else None,
                )


def admit(site: Site, books: Books, settled: Settled, examined: Examined) -> Item | None:
    """Give the file a row: a new item, or the item that it was before. Return None where it has one already.

    Raises RecordingBusy while another file's item still needs the name.
    """
    now = site.clock.now()
    live = books.items.live_at(settled.path)
    if live is not None:
        if live.fingerprint == examined.fingerprint or live.state is State.RETURNING:
            return None
        if live.sha256 is not None and live.sha256 == examined.sha256 and not examined.has_identity:
            if live.state in UNTOUCHED:
                books.items.change(live, live.state, now, fingerprint=examined.fingerprint)
            return None  # it is the same file
        if live.state not in UNTOUCHED:
            raise RecordingBusy("another recording of this name is being filed; this one waits for it")
        withdraw(books, live, now, "another file took its name before it was sent")
    elif books.items.has_left(settled.path, examined.last_change):
        # Its item was filed while it was read: a share that changes numbers had it look like a new file.
        raise RecordingBusy("a recording of this name was filed just now; this one is looked at again")
    item = _known_before(site, books, settled, examined, now)
    if item is not None:
        return item
    item = Item(
        id=secrets.token_hex(8),
        path=settled.path,
        state=State.QUEUED,
        size=examined.fingerprint.size,
        arrived_at=settled.first_seen,
        fingerprint=examined.fingerprint,
        due_at=now,
        companions=settled.companions,
    )
    facts = place(site, books, item, examined, is_new=True)
    item = replace(item, **doubt_after_loss(site, replace(item, **facts), examined, facts))
    books.items.add(item, _note(item))
    return item


def doubt_after_loss(site: Site, item: Item, examined: Examined, facts: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a placed item, in doubt if it may have been sent before the database was lost."""
    if not examined.is_doubtful or item.state not in UNSENT or item.duplicate_of is not None:
        return facts
    return facts | after_loss(item, holds=site.config.identifai.holds_in_doubt)


def place(site: Site, books: Books, item: Item, examined: Examined, *, is_new: bool = False) -> dict[str, Any]:
    """Return the changes to an item that was examined: queued, refused, or following its original.

    `is_new`: it has no row yet, and so no parts.
    """
    examination = examined.examination
    facts: dict[str, Any] = {
        "size": examined.fingerprint.size,
        "fingerprint": examined.fingerprint,
        "sha256": examined.sha256,
        "owner": examined.owner,
        "media_type": examination.media_type if examination else None,
        "extension": examination.extension if examination else None,
        "audio": _audio(examination),
        "warning": examined.warning,
        "content_key": _content_key(site, examined),
        "state": State.QUEUED,
        "fault": None,
        "duplicate_of": None,
        "outcome": None,
        "filed_as": None,
        "altered": None,
        "suspected_at": None,  # answers to others since an earlier try say nothing about this one
    }
    if _is_partly_paid(books, item, examined):
        return facts | _place_paid(books, item)
    if not is_new:
        books.parts.forget(item.id)
    facts |= _place_planned(examined.plan)
    if examined.refusal is not None:
        return facts | to_file(State.FAILED, item, examined.refusal.as_fault())
    if site.config.identifai.no_cache or item.fresh:
        return facts
    first = books.copies.original_of(str(facts["content_key"]), apart_from=item.id)
    if first is None or not is_accepted(first):
        buried = find_buried(books, facts["content_key"])
        if buried is not None and (instead := follow_buried(books, item, buried, site.clock.now())) is not None:
            return facts | instead
    if first is None or (item.retried and first.state is State.FAILED):
        return facts
    return facts | follow(books, item, first)


def _is_partly_paid(books: Books, item: Item, examined: Examined) -> bool:
    """Return whether parts of exactly these bytes were paid for, or may have been."""
    if item.sha256 != examined.sha256:
        return False
    return any(part.identifier or part.in_doubt for part in books.parts.of(item.id))


def _place_paid(books: Books, item: Item) -> dict[str, Any]:
    """Return what a recording's row reads that is to be completed: the boundaries that are committed hold.

    Whatever its plan would be now. What was refused is tried again; what has its identifier stays paid.
    """
    parts = books.parts.of(item.id)
    for part in parts:
        if part.state is PartState.REFUSED and not part.silent:
            books.parts.change(part, PartState.QUEUED, fault=None)
    held = next((part for part in parts if part.state is PartState.HELD), None)
    if held is not None:  # coming back decides nothing
        return {"plan": item.plan, "state": State.HELD, "fault": held.fault}
    return {"plan": item.plan, "state": State.PREPARING}


def _place_planned(plan: Planned | None) -> dict[str, Any]:
    return {"plan": None} if plan is None else {"plan": plan, "state": State.PREPARING}


def _content_key(site: Site, examined: Examined) -> str | None:
    if examined.sha256 is None:
        return None
    return site.content_key(examined.sha256, examined.examination.channels if examined.examination else None)


def _audio(examination: Examination | None) -> Audio | None:
    if examination is None:
        return None
    return Audio(
        container=examination.container,
        codec=examination.codec,
        seconds=examination.seconds,
        channels=examination.channels,
        sample_rate=examination.sample_rate,
    )


def _known_before(site: Site, books: Books, settled: Settled, examined: Examined, now: float) -> Item | None:
    """Return the item that this file was before, withdrawn and back, or dragged out of failed/; else None."""
    back = books.items.returnable(settled.path, examined.sha256, examined.fingerprint.inode)
    if back is not None:
        facts = place(site, books, back, examined)
        facts = doubt_after_loss(site, replace(back, **facts), examined, facts)
        facts["companions"] = settled.companions
        if back.in_doubt and site.config.identifai.holds_in_doubt:
            facts |= after_return(back)
        after = State(str(facts.pop("state")))
        books.items.change(back, after, now, "its file is back", due_at=now, **facts)
        return books.items.get(back.id)
    for failed in books.items.failed_with(examined.sha256) if examined.sha256 and examined.left_failed else []:
        if failed.id not in examined.left_failed:
            continue
        books.items.change(
            failed,
            State.RETURNING,
            now,
            "its file was put back into the drop folder: a retry",
            path=settled.path,
            fingerprint=examined.fingerprint,
            companions=settled.companions,
            retried=True,
        )
        return books.items.get(failed.id)
    return None


def _note(item: Item) -> str:
    if item.fault is not None:
        return item.fault.message
    if item.duplicate_of is not None:
        return f"the same bytes as {item.duplicate_of}"
    return ""


def stays_refused(item: Item, config: Config) -> bool:
    """Return whether an unchanged recording that was refused unsent would be refused again."""
    audio, known = config.audio, item.audio
    match item.fault.code if item.fault is not None else "":
        case "too_large":
            return not may_be_sent(item.size, audio, config.limits.max_upload_bytes)
        case "truncated":
            return config.arrivals.lengths == "strict"
        case "unsupported_type":
            return known is None or not (audio.prepare and audio.foreign == "convert")
        case "codec_missing":
            return not has_codec()
        case "too_short":
            return known is not None and known.seconds is not None and known.seconds < audio.min_seconds
        case "undecodable" | "no_sound":
            return True
        case _:
            return False
