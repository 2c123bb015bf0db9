"""What the service says of a recording, and of each part of it: as `show`, `list` and the receipt have it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from watcher.config import AudioConfig
from watcher.domain import Item, Part, PartState, Verdict, VerdictState
from watcher.journey.joined import OfRecording, join, name_of
from watcher.journey.segments import describe_segments
from watcher.store import Books
from watcher.text import JsonObject, rfc3339

Judgement = Verdict | OfRecording
"""The verdict on a recording: the service's own, or joined where it was sent in parts."""

_SEGMENTS_BYTES = 12_000
"""For the segments in a receipt, all parts together: so that it fits into the room reserved for it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The verdict on a recording, null before it is asked for; and its parts, if it is not sent as it is."""

    verdict: Judgement | None = None
    parts: tuple[Part, ...] | None = None
    of_parts: Mapping[str, Verdict] = field(default_factory=dict)  # by identifier
    names: tuple[str, ...] = ()  # of the channels
    results: Mapping[str, JsonObject] | None = None  # what the service said, whole, by identifier; None: not read
    original_site: str | None = None  # where the recording is whose bytes it has; None: here, or not read

    def verdict_as_json(self) -> JsonObject | None:
        """Return the verdict; with its segments, where the results were read and it is the service's own."""
        said = self.verdict.as_json() if self.verdict else None
        if said is not None and isinstance(self.verdict, Verdict):
            said |= self._segments(self.verdict)
        return said

    def _segments(self, verdict: Verdict) -> JsonObject:
        if self.results is None or verdict.state in (VerdictState.AWAITED, VerdictState.OVERDUE):
            return {}
        return describe_segments(
            self.results.get(verdict.identifier), _SEGMENTS_BYTES // (len(self.parts or ()) or 1)
        )

    def parts_as_json(self) -> list[JsonObject] | None:
        """Return the parts in their order; None where the recording is sent as it is."""
        return None if self.parts is None else [self._part_as_json(part) for part in self.parts]

    def as_if(self, verdict: Verdict, audio: AudioConfig) -> "Answer":
        """Return the same with this verdict in place of the one that its identifier has."""
        if self.parts is None:
            return replace(self, verdict=verdict)
        return compose(self.parts, {**self.of_parts, verdict.identifier: verdict}, audio)

    def of_part(self, part: Part) -> Verdict | None:
        """Return the verdict on the part; None where it is not asked for."""
        return None if part.identifier is None else self.of_parts.get(part.identifier)

    def channel_in_words(self, channel: int | None) -> str:
        """Return what a person calls the channel: its name, else its number, from 1."""
        return "" if channel is None else name_of(channel, self.names) or f"channel {channel + 1}"

    def _part_as_json(self, part: Part) -> JsonObject:
        verdict = self.of_part(part)
        return {
            "index": part.index,
            "channel": part.channel,
            "start": part.start,
            "end": part.end,
            "name": name_of(part.channel, self.names),
            "start_seconds": round(part.start_seconds, 3),
            "end_seconds": round(part.end_seconds, 3),
            "how": part.how,
            "sha256": part.sha256,
            "size": part.size,
            "state": str(part.state),
            "identifier": part.identifier,
            "submitted_at": rfc3339(part.submitted_at),
            "verdict": verdict.as_json() | self._segments(verdict) if verdict else None,
            "error": part.fault.as_json() if part.fault else None,
            "silent": part.silent,
            "proof": part.proof,
        }

    def progress(self) -> str:
        """Return how far a recording in parts is, for a person: "part 3 of 8"; "" where it has one, or none."""
        sent = [part for part in self.parts or () if not part.silent]
        settled = sum(part.state in (PartState.ACCEPTED, PartState.REFUSED) for part in sent)
        return f"part {min(settled + 1, len(sent)):,} of {len(sent):,}" if len(sent) > 1 else ""


def read_answer(books: Books, item: Item, audio: AudioConfig) -> Answer:
    """Return what the books have of it."""
    if item.plan is None:
        return Answer(books.verdicts.get(item.identifier))
    return read_answers(books, [item], audio)[0]


def read_answers(books: Books, items: Sequence[Item], audio: AudioConfig) -> list[Answer]:
    """Return what the books have of each of some hundreds of items, in a question or two for all."""
    parts = books.parts.of_items([item.id for item in items if item.plan is not None])
    whole = [item.identifier for item in items if item.identifier is not None]
    of_parts = [part.identifier for some in parts.values() for part in some if part.identifier is not None]
    known = books.verdicts.of([*whole, *of_parts])
    answers = []
    for item in items:
        if item.plan is None:
            answers.append(Answer(known.get(item.identifier or "")))
        else:
            mine = tuple(parts.get(item.id, ()))
            verdicts = {part.identifier: known[part.identifier] for part in mine if part.identifier in known}
            answers.append(compose(mine, verdicts, audio))
    return answers


def read_whole_answer(books: Books, item: Item, audio: AudioConfig) -> Answer:
    """Return the same, with what the verdicts rest on."""
    answer = read_answer(books, item, audio)
    if item.duplicate_of is not None:
        answer = replace(answer, original_site=books.copies.site_elsewhere(item.duplicate_of))
    verdict = answer.verdict
    if isinstance(verdict, Verdict) and verdict.state is VerdictState.AWAITED and not verdict.asked:
        return answer  # the service has said nothing of it yet
    identifiers = [part.identifier for part in answer.parts or ()] or [item.identifier]
    return replace(answer, results=books.verdicts.results_of([one for one in identifiers if one is not None]))


def compose(parts: tuple[Part, ...], verdicts: Mapping[str, Verdict], audio: AudioConfig) -> Answer:
    """Return the answer for a recording that was sent as these parts. Pure."""
    verdict = join(parts, verdicts, audio.join, audio.channel_names)
    return Answer(verdict, parts, verdicts, audio.channel_names)
