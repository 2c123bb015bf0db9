"""The text of a message: what, where, and what to do next. It is made when it is sent, from ids and counts."""

from collections.abc import Sequence

from watcher.alarms import Alarm
from watcher.config import Config
from watcher.domain import Fault, Item, PauseKind
from watcher.journey.answer import read_answer
from watcher.notify.rules import Edge
from watcher.privacy import hide_names
from watcher.store import Books, Message
from watcher.text import rfc3339, show_path, show_text

NAMED = 10
"""So many of a kind are named in a message; the others are counted."""

STILL = "still"
"""The part of a message that lists what was told before and is still open."""

_TOGETHER = 5
_NOUNS = {
    Alarm.ARTIFICIAL: "artificial",
    Alarm.FAILED: "failed",
    Alarm.HELD: "held",
    Alarm.PAUSED: "paused",
    Alarm.GROWN: "altered after filing",
    Alarm.OVERDUE: "without a verdict",
    Alarm.SILENCE: "silence",
}
_HEADS = {Edge.OPENED: "", Edge.UNSTABLE: "unstable: ", STILL: "still open: ", Edge.OVER: "over: "}
_SAID = {
    Edge.OPENED: "New",
    Edge.UNSTABLE: "Comes and goes; no more is said of it until it is steady for an hour",
    STILL: "Still open",
    Edge.OVER: "Over",
}
_NEXT = {
    Alarm.ARTIFICIAL: "Listen to it; `watcher review ITEM --human`, `--artificial` or `--unclear` ends this.",
    Alarm.FAILED: "`watcher retry ITEM` sends it again; `watcher dismiss ITEM` puts it aside.",
    Alarm.HELD: "`watcher release ITEM` sends it again; `watcher fail ITEM` gives it up.",
    Alarm.PAUSED: "`watcher status` says until when; `watcher resume` tries at once.",
    Alarm.GROWN: "`watcher show ITEM` says what was submitted; `watcher review ITEM --unclear` ends this.",
    Alarm.OVERDUE: "It is asked for again. Should it last, ask identifAI's support.",
    Alarm.SILENCE: "Look whether recordings are still written into the drop folder.",
}


def write(books: Books, config: Config, host: str, messages: Sequence[Message]) -> tuple[str, str]:
    """Return the subject and the text of these messages, as one; the earliest first."""
    parts = [_write_one(books, config, host, message) for message in messages[-_TOGETHER:]]
    if len(messages) == 1:
        return parts[0]
    left = len(messages) - len(parts)
    title = f"watcher on {host}: {len(messages):,} messages that could not be sent before"
    body = "\n\n".join(
        f"{rfc3339(m.made_at)}  {title}\n{text}"
        for m, (title, text) in zip(messages[-_TOGETHER:], parts, strict=True)
    )
    return title, (f"{left:,} earlier messages are left out: `watcher status`.\n\n" if left else "") + body


def _write_one(books: Books, config: Config, host: str, message: Message) -> tuple[str, str]:
    content = message.content
    heads, lines = [], []
    for part, head in _HEADS.items():
        found = {kind: content[part][kind] for kind in Alarm if kind in content.get(part, {})}
        if not found:
            continue
        heads.append(head + ", ".join(_count(kind, number) for kind, (number, _) in found.items()))
        for kind, (number, subjects) in found.items():
            lines += [f"{_SAID[part]}: {_count(kind, number)}"]
            lines += [f"- {_describe(books, config, kind, subject, part)}" for subject in subjects]
            if number > len(subjects):
                lines.append(f"- and {number - len(subjects):,} more")
            if part != Edge.OVER:
                lines.append(_NEXT[kind])
            lines.append("")
    site = books.site.get("id") or ""
    lines += [
        f"Drop folder: {show_path(config.folders.drop)} on {host}.",
        "`watcher status` says how things stand.",
        f"Message {site[:6]}-{message.serial}. What comes twice under this number is the same message.",
    ]
    return f"watcher on {host}: {'; '.join(heads)}", "\n".join(lines)


def _count(kind: Alarm, number: int) -> str:
    if kind is Alarm.SILENCE:
        return "nothing arrives"
    if kind is Alarm.PAUSED:
        return "submitting is paused" if number == 1 else f"submitting is paused for {number} reasons"
    return f"{number:,} {_NOUNS[kind]}"


def _describe(books: Books, config: Config, kind: Alarm, subject: str, part: str) -> str:
    """Return a line about one of them."""
    if kind is Alarm.SILENCE:
        latest = rfc3339(books.items.latest_arrival())
        return f"the latest recording arrived at {latest}" if latest else "no recording has arrived yet"
    if kind is Alarm.PAUSED:
        pause = books.pauses.get(PauseKind(subject))
        veil = config.veil
        said = f"{subject}: {pause.reason}" if pause is not None else f"{subject}: it has ended"
        return show_text(said if veil is None else veil.hide_in(said, ()))
    item = books.items.get(subject)
    if item is None:
        return f"{subject}: erased"
    hides = config.privacy.hides
    name = item.id if hides else f"{show_path(item.path)} ({item.id[:6]})"
    said = _describe_item(books, config, kind, item) if part != Edge.OVER else _describe_end(item)
    return show_text(f"{name}: {hide_names(said, _paths(item), item.id) if hides else said}")


def _paths(item: Item) -> list[bytes]:
    return [path for path in (item.path, item.filed_as, *item.companions, item.moves_to) if path]


def _describe_item(books: Books, config: Config, kind: Alarm, item: Item) -> str:
    if kind is Alarm.ARTIFICIAL:
        verdict = read_answer(books, item, config.audio).verdict
        confidence = None if verdict is None else verdict.confidence
        return "artificial" if confidence is None else f"artificial, confidence {confidence:.2f}"
    if kind is Alarm.GROWN:
        return (
            "what was filed is not what was submitted" if item.altered is None else f"it has {item.altered.kind}"
        )
    if kind is Alarm.OVERDUE:
        return f"submitted at {rfc3339(item.submitted_at)}, and no verdict yet"
    return _in_words(item.fault)


def _describe_end(item: Item) -> str:
    if item.review is not None:
        return f"{item.review.by} says: {item.review.word}"
    if item.dismissed is not None:
        return f"dismissed by {item.dismissed.by}"
    return f"it is {item.state}"


def _in_words(fault: Fault | None) -> str:
    return "no reason is known" if fault is None else str(fault)
