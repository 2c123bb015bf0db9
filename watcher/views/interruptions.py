"""What pauses mean to the recordings that wait, and what ends each, in sentences."""

from collections.abc import Iterable

from watcher.domain import Pause, PauseKind
from watcher.journey.submit.policy import NEEDS_CANARY
from watcher.text import local_time


def explain_pauses(pauses: list[Pause], now: float) -> list[str]:
    """Why nothing is submitted, and what ends that: a text for each of the pauses."""
    return [
        f"{'It is also paused' if number else 'Submitting is paused'}: {sentence(pause.reason)} "
        f"{ending(pause, now, is_barred=is_barred(pauses))}"
        for number, pause in enumerate(pauses)
    ]


def is_barred(pauses: Iterable[Pause]) -> bool:
    """Whether one of the pauses keeps recordings from testing whether a fault of account or service is over."""
    return any(pause.kind not in NEEDS_CANARY for pause in pauses)


def ending(pause: Pause, now: float, *, is_barred: bool = False) -> str:
    """What ends the pause. `is_barred`: another pause keeps recordings from testing whether this one is over."""
    at = local_time(pause.until) if pause.until is not None and pause.until > now else None
    match pause.kind:
        case PauseKind.PERSON:
            return "`watcher resume` ends it."
        case PauseKind.FOLDER:
            return "It ends by itself when the folder works again."
        case PauseKind.ACCOUNT | PauseKind.SERVICE if is_barred:
            return (
                "Once nothing else is in the way, one recording tests whether this is over; "
                "`watcher resume` then tests it at once."
            )
        case PauseKind.ACCOUNT | PauseKind.SERVICE:
            when = f"at {at}, or at once after `watcher resume`," if at else "next"
            return f"One recording tests {when} whether it is over."
        case PauseKind.THROTTLE | PauseKind.CAP:
            return f"It ends at {at}." if at else "It ends now."


def sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
