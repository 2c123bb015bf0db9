"""What becomes of a recording that has an item, and when: no more is promised than is true as things stand."""

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import replace

from watcher.domain import UNDER_WAY, Fault, Item, Pause, PauseKind, State
from watcher.errors import FolderError, NoRoom, RecordingError, RecordingGone
from watcher.folders import receipt_name
from watcher.journey.alterations import explain
from watcher.journey.arrive.admit import stays_refused
from watcher.journey.filed import has_receipt, lies_there
from watcher.journey.submit.policy import NEEDS_CANARY
from watcher.journey.working import Activity
from watcher.store import Books
from watcher.text import rfc3339, show_path
from watcher.views.context import CommandContext

IDLE = "No daemon runs now: the next `watcher run` does it."


def explain_item(context: CommandContext, books: Books, item: Item) -> str:
    """Where it stands, why, and what happens next."""
    said = _explain(context, books, item)
    if item.state in UNDER_WAY and context.is_idle():
        said += " No daemon runs now: this goes on with the next `watcher run`."
    elif item.state in UNDER_WAY and (working := context.working()).activity is Activity.HUNG:
        said += f" But the daemon hangs: {working.reason}; {working.hint}."
    return said


def explain_wait(context: CommandContext, books: Books) -> str:
    """What else stands in the way of a file that has no item yet; "" where nothing does."""
    said = ""
    if (pause := books.pauses.get(PauseKind.FOLDER)) is not None:
        said += f" Meanwhile nothing is submitted: {_sentence(pause.reason)}"
    if context.is_idle():
        said += " No daemon runs now: the next `watcher run` looks at it again."
    return said


def explain_delay(context: CommandContext, kinds: Collection[PauseKind]) -> list[str]:
    """Why what a person has just decided does not happen at once: a line each, for pauses of these kinds alone."""
    with context.store.reading() as books:
        pauses = [pause for pause in books.pauses.active() if pause.kind in kinds]
    return [*explain_pauses(pauses, context.clock.now()), *([IDLE] if context.is_idle() else [])]


def explain_pauses(pauses: list[Pause], now: float) -> list[str]:
    """Why nothing is submitted, and what ends that: a text for each pause in force."""
    return [
        f"{'It is paused as well' if number else 'Submitting is paused'}: {_sentence(pause.reason)} "
        f"{ending(pause, now, is_barred=is_barred(pauses))}"
        for number, pause in enumerate(pauses)
    ]


def is_barred(pauses: Iterable[Pause]) -> bool:
    """Whether no recording may try whether the trouble of the account, or of the service, is over."""
    return any(pause.kind not in NEEDS_CANARY for pause in pauses)


def ending(pause: Pause, now: float, *, is_barred: bool = False) -> str:
    """What ends the pause. `is_barred`: another one keeps anybody from trying whether this is over."""
    at = rfc3339(pause.until) if pause.until is not None and pause.until > now else None
    match pause.kind:
        case PauseKind.PERSON:
            return "`watcher resume` ends it."
        case PauseKind.FOLDER:
            return "It ends by itself once the folder is well."
        case PauseKind.ACCOUNT | PauseKind.SERVICE if is_barred:
            return (
                "One recording tries whether this is over once nothing else is in the way; "
                "`watcher resume` has it tried at once then."
            )
        case PauseKind.ACCOUNT | PauseKind.SERVICE:
            when = f"at {at}, or at once after `watcher resume`," if at else "next"
            return f"One recording tries {when} whether it is over."
        case PauseKind.THROTTLE | PauseKind.CAP:
            return f"It ends at {at}." if at else "It ends now."


def explain_retry(context: CommandContext, item: Item) -> str:
    """What a retry of this failed recording comes to, as the end of a sentence."""
    if item.fault is not None and stays_refused(item.fault, item.size, context.config):
        return f"goes back to the drop folder, and is refused again unless it was changed: {item.fault.message}"
    return "goes back to the drop folder, and is queued to be sent again"


def find_hindrance(context: CommandContext, item: Item) -> Fault | None:
    """Why this failed recording could not be brought back, and what to do; null where nothing is in the way."""
    fault = _GONE
    try:
        if item.filed_as is not None:
            context.failed.check_gives(item.filed_as)
            if lies_there(context.failed, item):
                return None
            fault = Fault("gone", f"another recording has its name by now: {context.failed.label(item.filed_as)}")
    except RecordingGone as error:
        fault = error.as_fault()
    except (RecordingError, FolderError) as error:
        return error.as_fault()
    with suppress(RecordingError, FolderError):
        if context.drop.fingerprint(item.path).inode == item.fingerprint.inode:
            return None  # it was put back by hand
    return replace(
        fault,
        hint="Drop the recording again where you still have it; "
        f"`watcher dismiss {item.id}` says that this one is done with.",
    )


_GONE = Fault("gone", "its file was gone from the drop folder already when it was filed")


def _lies_there(context: CommandContext, item: Item) -> bool:
    """False only where what was filed surely does not lie there."""
    folder = context.filed_in(item)
    try:
        return lies_there(folder, item)
    except (FolderError, RecordingError):
        return True


def _explain(context: CommandContext, books: Books, item: Item) -> str:
    fault = str(item.fault) if item.fault else "why is not known."
    match item.state:
        case State.PREPARING:
            return _explain_preparing(books, item)
        case State.QUEUED:
            return _explain_queued(context, books, item)
        case State.SUBMITTING:
            return _explain_submitting(context, books, item)
        case State.FILING:
            return _explain_filing(books, item, fault)
        case State.DONE:
            return _explain_done(context, books, item)
        case State.FAILED:
            return f"failed: {fault} {_explain_failed(context, item)}{_explain_aftermath(context, books, item)}"
        case State.HELD:
            return f"is held: {fault}"
        case State.RETURNING:
            return _explain_returning(context, books, item)
        case State.WITHDRAWN:
            return "was taken away or changed before it was sent; what lies there again is looked at anew."


def _explain_done(context: CommandContext, books: Books, item: Item) -> str:
    where = f"filed as {show_path(item.filed_as)}" if item.filed_as else "its file was gone when it was filed"
    if item.filed_as and not _lies_there(context, item):
        where += ", but it does not lie in done/ any more"
    shared = f" It has the same bytes as {item.duplicate_of}, and cost nothing." if item.duplicate_of else ""
    since = _explain_aftermath(context, books, item)
    return f"is done: identifier {item.identifier}, {where}.{shared}{since}"


def _explain_preparing(books: Books, item: Item) -> str:
    why = item.plan.reason if item.plan is not None else ""
    if (fault := books.obstacles.fault_of(item.id)) is not None:
        return f"is being prepared, and cannot be now: {fault} It is tried again."
    return f"is being prepared, and queued to be sent then. {why}".strip()


def _explain_queued(context: CommandContext, books: Books, item: Item) -> str:
    if item.duplicate_of is not None:
        return _explain_duplicate(context, books, item.duplicate_of)
    now, pauses = context.clock.now(), books.pauses.active()
    is_late = item.due_at > now and not any(pause.kind in NEEDS_CANARY for pause in pauses)
    ahead = books.queue.ahead_of(item)
    behind = f" behind {ahead:,} {'others' if ahead > 1 else 'other'}" if ahead else ""
    said = [f"is queued{behind or ('' if is_late else ' and is the next')}."]
    said += explain_pauses(pauses, now)
    if is_late:
        sooner = ", or sooner where there is room" if item.fault and item.fault.code == NoRoom.code else ""
        said.append(f"It is tried at {rfc3339(item.due_at)} at the earliest{sooner}.")
    trouble = _trouble(context, item, pauses)
    return " ".join(filter(None, [*said, trouble or (f"The last try: {item.fault}" if item.fault else "")]))


def _explain_duplicate(context: CommandContext, books: Books, first_id: str) -> str:
    first = books.items.get(first_id)
    said = f"waits for {first_id}, which has the same bytes, and shares what becomes of that one, unpaid."
    if first is None or first.duplicate_of is not None:
        return said
    return f"{said} That one, {show_path(first.path)}, {_explain(context, books, first)}"


def _explain_submitting(context: CommandContext, books: Books, item: Item) -> str:
    if not context.is_idle():
        return "is being sent now."
    requests = books.ledger.of_item(item.id)
    if requests and requests[-1].released_at is None:
        return "was being sent when the daemon ended, and not to its end: it costs nothing, and is queued again."
    then = "it is held for your decision" if context.config.identifai.holds_in_doubt else "it is sent again"
    return f"was being sent when the daemon ended, and may have been charged: {then}."


def _explain_filing(books: Books, item: Item, fault: str) -> str:
    move = _explain_move(books, item, f"to {item.outcome}/")
    if item.outcome is State.DONE:
        return f"was accepted (identifier {item.identifier}), and is {move}"
    return f"{'failed' if item.attempts else 'failed, and was not sent'}: {fault} It is {move}"


def _explain_returning(context: CommandContext, books: Books, item: Item) -> str:
    said = f"is {_explain_move(books, item, 'back to the drop folder')}"
    if item.fault is not None and stays_refused(item.fault, item.size, context.config):
        return f"{said} Then it is refused again, unless it was changed: {item.fault.message}"
    others = [pause for pause in books.pauses.active() if pause.kind is not PauseKind.FOLDER]
    return " ".join([f"{said} Then it is queued to be sent again.", *explain_pauses(others, context.clock.now())])


def _explain_move(books: Books, item: Item, where: str) -> str:
    """How far the move is, and what stands in its way."""
    if (obstacle := books.obstacles.fault_of(item.id)) is not None:
        return f"to be moved {where}, which is tried again and again: {_sentence(str(obstacle))}"
    if (pause := books.pauses.get(PauseKind.FOLDER)) is not None:
        return f"to be moved {where} when the folders are well again: {_sentence(pause.reason)}"
    return f"being moved {where}."


def _explain_failed(context: CommandContext, item: Item) -> str:
    """What a person can do about it."""
    if not _lies_there(context, item):
        said = "It does not lie in failed/ any more, so that it cannot be sent again from there."
    elif item.fault is not None and stays_refused(item.fault, item.size, context.config):
        said = "As it is, it would only be refused again. A mended or converted copy is a recording of its own."
    else:
        said = f"`watcher retry {item.id}` has it sent again."
    if item.dismissed is not None:
        return f"{said} It was dismissed by {item.dismissed.by} at {rfc3339(item.dismissed.at)}: it is done with."
    return f"{said} `watcher dismiss {item.id}` takes it off the list of what needs somebody."


def _explain_aftermath(context: CommandContext, books: Books, item: Item) -> str:
    """What became of it since it was filed, and what is in the way of its receipt."""
    altered = explain(item)
    since = f" {altered}" if altered else ""
    obstacle = books.obstacles.fault_of(item.id)
    if obstacle:
        return f"{since} Its receipt does not say all yet, since it cannot be written: {obstacle}"
    if _lacks_receipt(context, item):
        since += f" Its receipt is not beside it, or is none any more: `watcher show {item.id}` tells the same."
    return since


def _lacks_receipt(context: CommandContext, item: Item) -> bool:
    """Whether the recording lies where it was filed, and its receipt surely does not."""
    folder = context.filed_in(item)
    if item.filed_as is None:
        return False
    with suppress(FolderError, RecordingError):
        return lies_there(folder, item) and not has_receipt(folder, receipt_name(item.filed_as), item)
    return False


def _trouble(context: CommandContext, item: Item, pauses: list[Pause]) -> str:
    """What is wrong with the file itself, as it lies there now; a folder's pause tells of the folder."""
    try:
        context.drop.check_gives(item.path)
    except RecordingError as error:
        return str(error.as_fault())
    except FolderError as error:
        is_told = any(pause.kind is PauseKind.FOLDER for pause in pauses)
        return "" if is_told else str(error.as_fault())
    return ""


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
