"""A filed recording that is not the one that was judged: somebody wrote on, or changed it. In words."""

from watcher import logs
from watcher.domain import Alteration, Fault, Item, State
from watcher.text import show_path

_log = logs.get_logger(__name__)


def explain(item: Item) -> Fault | None:
    """What was done to it since, and what to do, in words; null where nothing was."""
    altered = item.altered
    if altered is None:
        return None
    judged = "was judged" if item.state is State.DONE or item.outcome is State.DONE else "was looked at"
    if altered.kind is Alteration.GROWN:
        message = (
            f"It grew after it was filed, from {item.size:,} to {altered.size:,} bytes:"
            f" what {judged} is only what it had before"
        )
    elif altered.size != item.size:
        message = f"It was changed after it was filed: it has {altered.size:,} bytes, and had {item.size:,}"
    else:
        message = f"It was changed after it was filed: its bytes are not those that it had when it {judged}"
    if item.outcome is State.DONE:
        hint = (
            "Drop it again, as it is now, to have the whole of it judged: move it from"
            f" done/{show_path(item.filed_as or item.path)} back into the drop folder. It is submitted by itself."
        )
    else:
        hint = f"`watcher retry {item.id[:6]}` has it looked at as it is now."
    return Fault(altered.kind, message, hint)


def tell_alteration(item: Item) -> None:
    """One warning, where it is not what it was."""
    fault, altered = explain(item), item.altered
    if fault is not None and altered is not None:
        _log.warning(
            f"recording.{altered.kind}",
            item=item.id,
            path=item.path,
            filed_as=item.filed_as,
            size=altered.size,
            size_judged=item.size,
            reason=fault.message,
            hint=fault.hint,
        )
