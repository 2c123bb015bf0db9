"""What becomes of a recording that has an item, and when. Promises only what is true as things are now."""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace

from watcher.config import Config
from watcher.domain import UNDER_WAY, Fault, Item, Pause, PauseKind, State
from watcher.errors import FolderError, NoRoom, RecordingError, RecordingGone
from watcher.folders import receipt_name
from watcher.journey.alterations import explain
from watcher.journey.answer import read_answer
from watcher.journey.arrive.admit import stays_refused
from watcher.journey.filed import has_receipt, lies_there
from watcher.journey.submit.policy import NEEDS_CANARY
from watcher.journey.working import Activity
from watcher.store import Books
from watcher.text import local_time, show_path
from watcher.views.context import CommandContext
from watcher.views.interruptions import explain_pauses, sentence
from watcher.views.site_names import name_sites

IDLE = "No daemon is running: the next `watcher run` does it."


def explain_item(context: CommandContext, item: Item) -> str:
    """The state of an item, the reason, and what happens next."""
    said = _explain(context, item)
    if item.state in UNDER_WAY and context.is_idle():
        said += " No daemon is running: the next `watcher run` continues."
    elif item.state in UNDER_WAY and (working := context.working()).activity is Activity.HUNG:
        said += f" But the daemon hangs: {working.reason}; {working.hint}."
    return said


def explain_wait(context: CommandContext) -> str:
    """What else is in the way of a file that has no item yet; "" for nothing."""
    said = ""
    with context.store.reading() as books:
        pause = books.pauses.get(PauseKind.FOLDER)
    if pause is not None:
        said += f" Meanwhile nothing is submitted: {sentence(pause.reason)}"
    if context.is_idle():
        said += " No daemon is running: the next `watcher run` looks at it again."
    return said


def explain_delay(context: CommandContext, kinds: Collection[PauseKind]) -> list[str]:
    """Why a decision takes no effect yet: a line for each pause of these kinds, and if no daemon is running."""
    with context.store.reading() as books:
        pauses = [pause for pause in books.pauses.active() if pause.kind in kinds]
    return [*explain_pauses(pauses, context.clock.now()), *([IDLE] if context.is_idle() else [])]


def explain_retry(context: CommandContext, item: Item) -> str:
    """What a retry of this failed recording will do, as the end of a sentence."""
    if item.fault is not None and stays_refused(item, context.config):
        return f"goes back to the drop folder, and is refused again unless it was changed: {item.fault.message}"
    return "goes back to the drop folder and is sent again"


def find_hindrance(context: CommandContext, item: Item) -> Fault | None:
    """Why this failed recording could not be moved back, and what to do; null if nothing is in the way."""
    fault = _GONE
    try:
        if item.filed_as is not None:
            folder = context.filed_in(item)
            folder.check_gives(item.filed_as)
            if lies_there(folder, item):
                return None
            fault = Fault("gone", f"another recording has its name now: {folder.label(item.filed_as)}")
    except RecordingGone as error:
        fault = error.as_fault()
    except (RecordingError, FolderError) as error:
        return error.as_fault()
    with suppress(RecordingError, FolderError):
        if context.drop.fingerprint(item.path).inode == item.fingerprint.inode:
            return None  # it was put back by hand
    return replace(
        fault,
        hint="If you still have the recording, drop it again; "
        f"`watcher dismiss {item.id}` marks this one as dealt with.",
    )


_GONE = Fault("gone", "its file had already gone from the drop folder when it was filed")


def _lies_there(context: CommandContext, item: Item) -> bool:
    """Whether the filed recording is there; False only if it surely is not."""
    folder = context.filed_in(item)
    try:
        return lies_there(folder, item)
    except (FolderError, RecordingError):
        return True


def _explain(context: CommandContext, item: Item) -> str:
    fault = str(item.fault) if item.fault else "the reason is not known."
    match item.state:
        case State.PREPARING:
            return _explain_preparing(context, item)
        case State.QUEUED:
            return _explain_queued(context, item)
        case State.SUBMITTING:
            return _explain_submitting(context, item)
        case State.FILING:
            return _explain_filing(context, item, fault)
        case State.DONE:
            return _explain_done(context, item)
        case State.FAILED:
            return f"failed: {fault} {_explain_failed(context, item)}{_explain_aftermath(context, item)}"
        case State.HELD:
            return f"is held: {fault}"
        case State.RETURNING:
            return _explain_returning(context, item)
        case State.WITHDRAWN:
            return (
                "was removed or changed before it was sent. A file of this name that comes now is a new arrival."
            )


def _explain_done(context: CommandContext, item: Item) -> str:
    where = f"filed as {show_path(item.filed_as)}" if item.filed_as else "its file was gone when it was filed"
    if item.removed is not None:
        where += _explain_removed(item)
    elif item.moves_to is not None:
        onward = f"on to done/{show_path(item.moves_to)}"
        where += f"; it is {_explain_move(context, item, onward).rstrip('.')}"
    elif item.filed_as and not _lies_there(context, item):
        where += ", but no longer in done/"
    shared = _explain_shared(context, item.duplicate_of)
    since = _explain_aftermath(context, item)
    return f"is done: {_explain_identifier(context, item)}, {where}.{shared}{since}"


def _explain_shared(context: CommandContext, original_id: str | None) -> str:
    """What a duplicate shares with its original, which may be erased by now."""
    if original_id is None:
        return ""
    with context.store.reading() as books:
        is_erased = books.copies.get(original_id) is None and books.tombstones.get(original_id) is not None
        more = ", which was erased," if is_erased else _elsewhere(books, context.config, original_id)
    return f" It has the same bytes as {original_id}{more} and cost nothing."


def _elsewhere(books: Books, config: Config, item_id: str) -> str:
    """Return at which other site the item is, for a person; "" for one of this site."""
    site = books.copies.site_elsewhere(item_id)
    if site is None:
        return ""
    name = next((str(name) for name in name_sites(books, config) if name.id == site), site)
    return f" (at another site: {name})"


def _explain_removed(item: Item) -> str:
    if item.removed is None:
        return ""
    if item.removed.how == "collected":
        return ", but no longer there: somebody has collected it"
    receipt = "; so was its receipt" if item.receipt_removed_at is not None else ""
    return f", and was removed at {local_time(item.removed.at)}, as its time was over (retention){receipt}"


def _explain_identifier(context: CommandContext, item: Item) -> str:
    if item.identifier is not None:
        return f"identifier {item.identifier}"
    with context.store.reading() as books:
        parts = [part for part in books.parts.of(item.id) if not part.silent]
    accepted = sum(part.identifier is not None for part in parts)
    return f"{accepted:,} of its {len(parts):,} parts were accepted"


def _explain_preparing(context: CommandContext, item: Item) -> str:
    why = item.plan.reason if item.plan is not None else ""
    with context.store.reading() as books:
        fault = books.obstacles.fault_of(item.id)
    if fault is not None:
        return f"is being prepared, but cannot be at the moment: {fault} It is tried again."
    return f"is being prepared, and is queued after that. {why}".strip()


def _explain_queued(context: CommandContext, item: Item) -> str:
    if item.duplicate_of is not None:
        return _explain_duplicate(context, item.duplicate_of)
    now = context.clock.now()
    with context.store.reading() as books:
        pauses, ahead = books.pauses.active(), books.queue.ahead_of(item)
        progress = read_answer(books, item, context.config.audio).progress()
    is_late = item.due_at > now and not any(pause.kind in NEEDS_CANARY for pause in pauses)
    behind = f" behind {ahead:,} {'others' if ahead > 1 else 'other'}" if ahead else ""
    said = [f"is queued{behind or ('' if is_late else ' and is the next')}."]
    if progress:
        said.append(f"It is sent in parts: {progress} comes next.")
    said += explain_pauses(pauses, now)
    if is_late:
        sooner = ", or as soon as there is room" if item.fault and item.fault.code == NoRoom.code else ""
        said.append(f"It is tried at {local_time(item.due_at)} at the earliest{sooner}.")
    trouble = _trouble(context, item, pauses)
    return " ".join(filter(None, [*said, trouble or (f"The last try: {item.fault}" if item.fault else "")]))


def _explain_duplicate(context: CommandContext, first_id: str) -> str:
    with context.store.reading() as books:
        first, elsewhere = books.items.get(first_id), _elsewhere(books, context.config, first_id)
    said = f"waits for {first_id}{elsewhere}, which has the same bytes, and will share its outcome at no cost."
    if first is None or first.duplicate_of is not None:
        return said
    return f"{said} That one, {show_path(first.path)}, {_explain(context, first)}"


def _explain_submitting(context: CommandContext, item: Item) -> str:
    with context.store.reading() as books:
        progress = read_answer(books, item, context.config.audio).progress()
    if not context.is_idle():
        return f"is being sent now{f': {progress}' if progress else ''}."
    with context.store.reading() as books:
        requests = books.ledger.of_item(item.id)
    if requests and requests[-1].released_at is None:
        return (
            "was being sent when the daemon ended, but not completely: it cost nothing and will be queued again."
        )
    then = "held for your decision" if context.config.identifai.holds_in_doubt else "sent again"
    return f"was being sent when the daemon ended, and may have been charged. It will be {then}."


def _explain_filing(context: CommandContext, item: Item, fault: str) -> str:
    move = _explain_move(context, item, f"to {item.outcome}/")
    if item.outcome is State.DONE:
        return f"was accepted ({_explain_identifier(context, item)}), and is {move}"
    return f"{'failed' if item.attempts else 'failed without being sent'}: {fault} It is {move}"


def _explain_returning(context: CommandContext, item: Item) -> str:
    said = f"is {_explain_move(context, item, 'back to the drop folder')}"
    if item.fault is not None and stays_refused(item, context.config):
        return f"{said} Then it is refused again, unless it was changed: {item.fault.message}"
    with context.store.reading() as books:
        others = [pause for pause in books.pauses.active() if pause.kind is not PauseKind.FOLDER]
    return " ".join([f"{said} Then it is queued to be sent again.", *explain_pauses(others, context.clock.now())])


def _explain_move(context: CommandContext, item: Item, where: str) -> str:
    """How far the move is, and what is in its way."""
    with context.store.reading() as books:
        obstacle, pause = books.obstacles.fault_of(item.id), books.pauses.get(PauseKind.FOLDER)
    if obstacle is not None:
        return f"to be moved {where}, which failed and is tried again by itself: {sentence(str(obstacle))}"
    if pause is not None:
        return f"to be moved {where} when the folders work again: {sentence(pause.reason)}"
    return f"being moved {where}."


def _explain_failed(context: CommandContext, item: Item) -> str:
    """What a person can do about it."""
    if item.removed is not None and item.removed.how != "collected":
        return f"It was removed from failed/ at {local_time(item.removed.at)}, as its time was over (retention)."
    if not _lies_there(context, item):
        said = "It is no longer in failed/, so it cannot be retried from there."
    elif stays_refused(item, context.config):
        said = "Unchanged, it would be refused again. A repaired or converted copy is a new recording."
    else:
        said = f"`watcher retry {item.id}` sends it again."
    if item.dismissed is not None:
        return f"{said} It was dismissed by {item.dismissed.by} at {local_time(item.dismissed.at)}."
    return f"{said} `watcher dismiss {item.id}` marks it as dealt with."


def _explain_aftermath(context: CommandContext, item: Item) -> str:
    """What happened to it after it was filed, and what is in the way of its receipt."""
    altered = explain(item)
    since = f" {altered}" if altered else ""
    with context.store.reading() as books:
        obstacle = books.obstacles.fault_of(item.id)
    if obstacle:
        return f"{since} Its receipt is out of date, since it cannot be written: {obstacle}"
    if _lacks_receipt(context, item):
        since += f" Its receipt is missing or damaged: `watcher show {item.id}` has the same facts."
    return since


def _lacks_receipt(context: CommandContext, item: Item) -> bool:
    """Whether the recording is where it was filed, and its receipt surely is not."""
    folder = context.filed_in(item)
    if item.filed_as is None or item.removed is not None:
        return False
    with suppress(FolderError, RecordingError):
        return lies_there(folder, item) and not has_receipt(folder, receipt_name(item.filed_as), item)
    return False


def _trouble(context: CommandContext, item: Item, pauses: list[Pause]) -> str:
    """What is wrong with the file itself now. What is wrong with the folder is told by the folder's pause."""
    try:
        context.drop.check_gives(item.path)
    except RecordingError as error:
        return str(error.as_fault())
    except FolderError as error:
        is_told = any(pause.kind is PauseKind.FOLDER for pause in pauses)
        return "" if is_told else str(error.as_fault())
    return ""
