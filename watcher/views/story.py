"""One recording's story, for a page: what became of it, why, what a person may decide, and all that happened."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from watcher.domain import FILED, Attempt, Deed, Fault, Item, Part, PartState, State, Verdict
from watcher.errors import FolderError, NoSuchItem, RecordingError
from watcher.folders import receipt_name
from watcher.journey.alterations import explain
from watcher.journey.answer import Answer, Judgement, read_whole_answer
from watcher.journey.decisions import is_incomplete
from watcher.journey.joined import Joined, OfRecording
from watcher.journey.receipt import RECEIPT_BYTES
from watcher.journey.segments import segments_of
from watcher.privacy import hide_names
from watcher.store import Books
from watcher.text import from_json, seconds_of, show_path, show_text, to_json
from watcher.views.context import CommandContext
from watcher.views.prospects import explain_item
from watcher.views.site_names import SiteName

Hide = Callable[[str | None], str]
"""Makes a text safe to show: control characters are escaped, and names are gone where they are hidden."""

_NAMES_IN_RECEIPT = ("path", "filed_as")
_MOST_SEGMENTS = 200


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a timeline. `by`: the person who decided it."""

    at: float
    what: str
    note: str
    by: str | None = None


@dataclass(frozen=True, slots=True)
class PartLine:
    """One part of a recording, its stretch in it, and what the service says of it."""

    part: Part
    channel: str
    verdict: Verdict | None
    said: str  # why it was refused or is held


@dataclass(frozen=True, slots=True)
class Said:
    """What the service says: of the whole, or of a channel. Null verdict: there is no sound in it."""

    of: str  # "" for the whole
    verdict: Verdict | Joined | OfRecording | None


@dataclass(frozen=True, slots=True)
class Story:
    """One recording. Every text in it may be shown as it is."""

    id: str
    name: str
    item: Item
    why: str
    told: str  # the fault and its hint; "" for none
    deeds: tuple[Deed, ...]
    may_review: bool
    seen: int  # the number of the last change in all histories when this was read
    facts: list[tuple[str, str]]
    verdicts: list[Said]
    segments: list[str]
    parts: list[PartLine]
    moments: list[Moment]
    requests: list[Attempt]
    review_note: str
    receipt: str | None
    no_receipt: str  # why there is none to be shown
    hide: Hide

    @property
    def verdict(self) -> Verdict | Joined | OfRecording | None:
        return self.verdicts[0].verdict if self.verdicts else None


def read_story(context: CommandContext, item_id: str, there: SiteName | None = None) -> Story:
    """Return the story of the item with this id. Raises NoSuchItem.

    `there`: of another site, whose books the context has. Its folders are not looked at, and nothing is decided.
    """
    audio, hides = context.config.audio, context.config.privacy.hides
    with context.store.reading() as books:
        item = books.items.get(item_id)
        if item is None:
            raise NoSuchItem(f"{item_id}: no recording has this id", hint="It may have been erased.")
        answer = read_whole_answer(books, item, audio)
        hide = hiding(_related(books, item), item.id, hides=hides)
        changes, requests = books.items.history(item.id), books.ledger.of_item(item.id)
        deeds, seen = deeds_for(books, item), books.items.last_change()
    moments = [_moment(change, hide) for change in changes] + [_request(one, hide) for one in requests]
    if there is None:
        why = explain_item(context, item)
        receipt, no_receipt = _read_receipt(context, item, hide, hides=hides)
    else:
        why = f"belongs to another site, {there}: the page there says why, and there it is decided on."
        deeds, receipt, no_receipt = (), None, "It lies at that site."
    return Story(
        id=item.id,
        name=item.id if hides else show_path(item.path),
        item=item,
        why=hide(why),
        told=hide(str(item.fault)) if item.fault else "",
        deeds=deeds,
        may_review=item.state in FILED and there is None,
        seen=seen,
        facts=list(_facts(item, answer, hide, hides=hides)),
        verdicts=_verdicts(answer),
        segments=[show_text(to_json(one)) for one in _segments(answer)],
        parts=[
            PartLine(part, answer.channel_in_words(part.channel), answer.of_part(part), hide(_told(part.fault)))
            for part in answer.parts or ()
        ],
        moments=sorted(moments, key=lambda moment: moment.at),
        requests=requests,
        review_note=hide(item.review.note) if item.review else "",
        receipt=receipt,
        no_receipt=no_receipt,
        hide=hide,
    )


def deeds_for(books: Books, item: Item) -> tuple[Deed, ...]:
    """Return what a person may decide on the item as it is."""
    if item.state is State.HELD:
        return (Deed.RELEASE, Deed.FAIL)
    if item.state is State.FAILED and item.removed is None:
        return (Deed.RETRY,) if item.dismissed is not None else (Deed.RETRY, Deed.DISMISS)
    if item.removed is None and is_incomplete(books, item):
        return (Deed.RETRY,)
    return ()


def hiding(items: Iterable[Item], instead: str, *, hides: bool) -> Hide:
    """Return what makes texts about these items safe to show."""
    names = [name for item in items for name in (item.path, item.filed_as, item.moves_to, *item.companions)]

    def hide(said: str | None) -> str:
        return show_text(hide_names(said or "", names, instead) if hides else said or "")

    return hide


def _related(books: Books, item: Item) -> list[Item]:
    """Return the item, and the one whose bytes it shares: texts about it may name that one too."""
    original = books.items.get(item.duplicate_of) if item.duplicate_of else None
    return [item] if original is None else [item, original]


def _moment(change: dict[str, str | None], hide: Hide) -> Moment:
    at, after = seconds_of(change["at"]) or 0.0, str(change["to"])
    what = after if change["from"] != change["to"] else "noted"
    return Moment(at, what, hide(change["note"]), hide(change["by"]) or None)


def _request(attempt: Attempt, hide: Hide) -> Moment:
    part = "" if attempt.part is None else f" for part {attempt.part:,}"
    answered = (
        "" if attempt.ended_at is None else f", answered after {attempt.ended_at - attempt.started_at:.1f} s"
    )
    note = f"{attempt.outcome}, charged: {attempt.charged}{answered}. {attempt.detail}".strip()
    return Moment(attempt.started_at, f"request {attempt.number:,}{part}", hide(note))


def _told(fault: Fault | None) -> str:
    return "" if fault is None else str(fault)


def _verdicts(answer: Answer) -> list[Said]:
    verdict: Judgement | None = answer.verdict
    if verdict is None:
        return []
    channels = verdict.channels if isinstance(verdict, OfRecording) else ()
    return [Said("", verdict), *(Said(answer.channel_in_words(one.channel), one.verdict) for one in channels)]


def _segments(answer: Answer) -> list[object]:
    """Return what the service says of each segment, of a recording that was sent as it is."""
    if not isinstance(answer.verdict, Verdict) or answer.results is None:
        return []
    return segments_of(answer.results.get(answer.verdict.identifier))[:_MOST_SEGMENTS]


def _facts(item: Item, answer: Answer, hide: Hide, *, hides: bool) -> Iterable[tuple[str, str]]:
    """Yield what else is known of it, by name."""
    accepted = sum(part.state is PartState.ACCEPTED for part in answer.parts or ())
    facts: dict[str, object] = {
        "Id": item.id,
        "Identifier": item.identifier,
        "Parts accepted": f"{accepted:,} of {len(answer.parts):,}" if answer.parts else None,
        "Has the bytes of": item.duplicate_of,
        "Warning": item.warning,
        "Altered": explain(item),
        "Audio": item.audio,
        "Sent": None if item.plan is None else f"{item.plan.mode}: {item.plan.reason}",
        "Size": f"{item.size:,} bytes",
        "SHA-256": item.sha256,
    }
    if not hides:
        facts |= {
            "Path": show_path(item.path),
            "Filed as": None if item.filed_as is None else show_path(item.filed_as),
            "With it": ", ".join(map(show_path, item.companions)) or None,
        }
    yield from ((name, hide(str(value))) for name, value in facts.items() if value is not None)


def _read_receipt(context: CommandContext, item: Item, hide: Hide, *, hides: bool) -> tuple[str | None, str]:
    """Return the receipt as it lies there, or why it cannot be shown."""
    if item.state not in FILED or item.filed_as is None:
        return None, "It gets a receipt when it is filed."
    if item.receipt_removed_at is not None:
        return None, "It was removed, as its time was over (retention)."
    try:
        data = context.filed_in(item).read(receipt_name(item.filed_as), RECEIPT_BYTES)
    except (FolderError, RecordingError) as error:
        return None, hide(str(error.as_fault()))
    receipt = from_json(data)
    if receipt is None or receipt.get("id") != item.id:
        return None, "What lies in its place is not the receipt of this recording."
    if hides:
        receipt = {name: value for name, value in receipt.items() if name not in _NAMES_IN_RECEIPT}
        return hide(to_json(receipt, indent=2)).replace("\\x0a", "\n"), ""
    return to_json(receipt, indent=2), ""
