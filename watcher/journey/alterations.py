"""Filed recordings that were altered afterwards: what to say of them."""

from watcher import logs
from watcher.domain import Alteration, Fault, Item, State
from watcher.text import show_path

_log = logs.get_logger(__name__)


def explain(item: Item) -> Fault | None:
    """Return how it was altered and what to do, in words; None where it was not."""
    altered = item.altered
    if altered is None:
        return None
    judged = "was judged" if item.state is State.DONE or item.outcome is State.DONE else "was looked at"
    if altered.kind is Alteration.GROWN:
        message = (
            f"It grew after it was filed, from {item.size:,} to {altered.size:,} bytes:"
            f" only the first part {judged}"
        )
    elif altered.size != item.size:
        message = f"It was changed after it was filed: it has {altered.size:,} bytes, and had {item.size:,}"
    else:
        message = f"It was changed after it was filed: its bytes are not those it had when it {judged}"
    if item.outcome is State.DONE:
        hint = (
            "To have all of it judged, drop it again as it is now: move it from"
            f" done/{show_path(item.filed_as or item.path)} back into the drop folder. It is submitted anew."
        )
    else:
        hint = f"`watcher retry {item.id[:6]}` looks at it as it is now."
    return Fault(altered.kind, message, hint)


def tell_alteration(item: Item) -> None:
    """Log a warning where it was altered."""
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
