"""What lies beside no receipt yet: identifiers in the spool, and answers that the database did not take."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import groupby

from watcher.domain import Attempt, Charged, Fault, Fingerprint, Item, Part, PartState, State
from watcher.errors import FolderError, RecordingError
from watcher.folders import hash_of
from watcher.journey.recovery.evidence import Evidence, Malformed, read_evidence
from watcher.journey.recovery.testimony import Left
from watcher.journey.site import Site
from watcher.journey.submit.doubt import after_loss
from watcher.journey.submit.journal import Kept, KeptAnswer
from watcher.text import JsonObject


def read_spool(site: Site) -> Iterator[tuple[str, Evidence] | Left]:
    """Yield what the notes beside accepted parts say: each recording with all its parts, and where it lies now.

    Raises FolderError, of the spool.
    """
    for item_id, names in groupby(sorted(site.spool.noted()), key=lambda name: name.partition("-")[0]):
        notes = [note for name in names if (note := site.spool.read_note(name)) is not None]
        try:
            evidence = _read_notes(site, notes)
        except Malformed as error:
            yield Left("spool", item_id.encode(), f"its notes are not as we write them: {error}")
            continue
        if evidence is not None and evidence.item.id == item_id:
            yield "the spool", _placed(site, evidence)


def _read_notes(site: Site, notes: list[JsonObject]) -> Evidence | None:
    """Return what all notes of one recording say together; None where none has it."""
    found: Evidence | None = None
    for note in notes:
        told = note.get("recording")
        if not isinstance(told, dict):
            raise Malformed("they do not say of which recording")
        evidence = read_evidence(told, channels=site.config.audio.channels)
        found = found or evidence
        known = {part.index: part for part in found.parts}
        known |= {part.index: part for part in evidence.parts if part.identifier is not None}
        found = replace(found, parts=tuple(known[index] for index in sorted(known)))
    return found


def read_journal(site: Site, kept: Kept) -> Iterator[tuple[str, Evidence] | Left]:
    """Yield what the journal of answers says, each with the request that it answers."""
    for (number, item_id, started_at), answer in kept.items():
        name = answer.identifier.encode()
        if answer.recording is None:
            yield Left("journal", name, f"is the identifier of item {item_id}, of which no more is known")
            continue
        try:
            evidence = read_evidence(answer.recording, channels=site.config.audio.channels)
        except Malformed as error:
            yield Left("journal", name, f"is the identifier of item {item_id}: {error}")
            continue
        attempt = _answered(evidence, answer, number, started_at)
        if answer.part is None:
            yield "the journal of answers", _accepted(site, evidence, answer, attempt)
            continue
        known = {part.index: part for part in evidence.parts}
        if answer.part in known:
            known[answer.part] = _accepted_part(known[answer.part], answer.identifier, answer.at)
            evidence = replace(evidence, parts=tuple(known.values()), attempts=(attempt,))
            yield "the journal of answers", _placed(site, evidence)


def _answered(evidence: Evidence, answer: KeptAnswer, number: int, started_at: float) -> Attempt:
    return Attempt(
        number=number,
        item_id=evidence.item.id,
        started_at=started_at,
        size=evidence.item.size,
        released_at=answer.at,
        ended_at=answer.at,
        status=answer.status,
        outcome="accepted",
        charged=Charged.YES,
        decision="done",
        identifier=answer.identifier,
        part=answer.part,
    )


def _accepted(site: Site, evidence: Evidence, answer: KeptAnswer, attempt: Attempt) -> Evidence:
    """Return the evidence of a recording that was accepted and is still to be filed, wherever it lies."""
    item = replace(
        evidence.item,
        state=State.FILING,
        outcome=State.DONE,
        identifier=answer.identifier,
        submitted_at=answer.at,
        filed_as=evidence.item.path,
        fingerprint=find_in_drop(site, evidence.item) or evidence.item.fingerprint,
        in_doubt=False,
        fault=None,
        attempts=1,
    )
    return replace(evidence, item=item, attempts=(attempt,))


def _accepted_part(part: Part, identifier: str, at: float) -> Part:
    return replace(
        part, state=PartState.ACCEPTED, identifier=identifier, submitted_at=at, in_doubt=False, fault=None
    )


def _placed(site: Site, evidence: Evidence) -> Evidence:
    """Return the evidence with the state of a recording of which parts were accepted.

    The others may have been in flight: they are in doubt, and held where a person is to decide on that.
    """
    item, holds = evidence.item, site.config.identifai.holds_in_doubt
    there = find_in_drop(site, item)
    item = replace(item, state=State.WITHDRAWN if there is None else State.PREPARING)
    if there is not None:
        item = replace(item, fingerprint=there)
    open_parts = [part for part in evidence.parts if part.state not in (PartState.ACCEPTED, PartState.REFUSED)]
    facts = after_loss(item, holds=holds)
    fault: Fault | None = facts.get("fault")
    for part in open_parts:
        state = PartState.HELD if holds else PartState.QUEUED
        new = replace(part, state=state, in_doubt=part.sha256 is not None, fault=fault)
        evidence = replace(
            evidence, parts=tuple(new if one.index == part.index else one for one in evidence.parts)
        )
    if open_parts:
        item = replace(item, in_doubt=True)
        if holds and there is not None:
            item = replace(item, state=State.HELD, fault=fault)
    return replace(evidence, item=item)


def find_in_drop(site: Site, item: Item) -> Fingerprint | None:
    """Return the fingerprint of the recording if it lies in the drop folder as it was; None otherwise."""
    with suppress(FolderError, RecordingError):
        here = site.drop.fingerprint(item.path)
        if here.size != item.size or item.sha256 is None:
            return None
        file, opened = site.drop.open(item.path)
        with file:
            return here if opened == here and hash_of(file) == item.sha256 else None
    return None
