"""Answers that are not in the database yet: none is forgotten, and each is tried again."""

import threading
from dataclasses import dataclass

from watcher import logs
from watcher.errors import StoreError, WatcherError, is_of_the_store
from watcher.identifai.client import Accepted
from watcher.journey.site import Site
from watcher.journey.submit import journal
from watcher.journey.submit.claim import Claim
from watcher.journey.submit.record import Outcomes
from watcher.text import show_path

_log = logs.get_logger(__name__)

_STUMBLED_SECONDS = 5.0  # until recording an answer is tried again after an unexpected error; doubled each time
_MOST_STUMBLED_SECONDS = 600.0
_FINISH_SECONDS = 5.0  # how long a stop tries to record the last answer


@dataclass(slots=True)
class Answer:
    """The outcome of a claim, and when it came, until it is recorded."""

    claim: Claim
    what: Accepted | WatcherError
    at: float
    is_told: bool = False  # logged, since the database does not take it


@dataclass(slots=True)
class Stumble:
    """An answer that is in the ledger, but not in its item, because of an unexpected error."""

    answer: Answer
    due_at: float  # monotonic
    seconds: float = _STUMBLED_SECONDS  # until it is tried again


class UnrecordedAnswers:
    """The answer to the latest upload, until it is recorded, and those that met an unexpected error."""

    def __init__(self, site: Site, outcomes: Outcomes) -> None:
        self._site = site
        self._outcomes = outcomes
        self._unrecorded: Answer | None = None
        self._stumbles: list[Stumble] = []

    def keep(self, claim: Claim, answer: Accepted | WatcherError) -> None:
        """Keep the answer and record it, now or later: see `record`."""
        self._unrecorded = Answer(claim, answer, self._site.clock.now())
        self.record()

    def record(self) -> None:
        """Record the outcome of the upload. Where the database cannot (a full disk), raise; the next step retries.

        After an unexpected error only the ledger has it: that is what must not be lost, and all that others wait
        for.
        """
        if (answer := self._unrecorded) is None:
            return
        try:
            self._outcomes.record(answer.claim, answer.what, answer.at)
        except Exception as error:
            if is_of_the_store(error):
                self._tell_unrecorded(answer, error)
                raise
            _log.exception("answer.stumbled", item=answer.claim.item.id, path=answer.claim.item.path)
            self._outcomes.end(answer.claim, answer.what, answer.at)
            self._stumbles.append(Stumble(answer, self._site.clock.monotonic() + _STUMBLED_SECONDS))
        self._unrecorded = None

    def _tell_unrecorded(self, left: Answer, error: Exception) -> None:
        """Log the answer, once, and keep an identifier on the disk, until the database takes it."""
        if left.is_told:
            return
        left.is_told = True
        answer, item = left.what, left.claim.item
        # First: where the database cannot be written, the disk may not answer either.
        _log.error(
            "answer.unrecorded",
            item=item.id,
            path=item.path,
            identifier=answer.identifier if isinstance(answer, Accepted) else None,
            answer="accepted" if isinstance(answer, Accepted) else answer.message,
            reason=str(error),
            hint="Make the database writable again (disk space, permissions): the answer is then recorded. "
            "Do not end the process before, unless answer.kept follows; should it end, this line has the answer.",
        )
        if isinstance(answer, Accepted) and (kept_in := journal.keep(self._site, left.claim, answer, left.at)):
            reason = f"it is in {show_path(kept_in)} too, which the next start reads"
            _log.warning("answer.kept", item=item.id, identifier=answer.identifier, reason=reason)

    def record_what_stumbled(self) -> None:
        """Try again to record answers that only the ledger has."""
        monotonic = self._site.clock.monotonic()
        for stumble in [one for one in self._stumbles if one.due_at <= monotonic]:
            answer = stumble.answer
            try:
                self._outcomes.record(answer.claim, answer.what, answer.at)
            except Exception as error:
                if is_of_the_store(error):
                    raise
                stumble.seconds = min(2 * stumble.seconds, _MOST_STUMBLED_SECONDS)
                stumble.due_at = monotonic + stumble.seconds
            else:
                self._stumbles.remove(stumble)

    def finish(self) -> bool:
        """Record the last answer at a stop, when no step runs any more. Return False where the database cannot."""
        clock = self._site.clock
        give_up_at, wait = clock.monotonic() + _FINISH_SECONDS, _FINISH_SECONDS / 20
        while True:
            try:
                self.record()
            except StoreError:
                if clock.monotonic() >= give_up_at:
                    return False
                clock.wait(wait, threading.Event())
            else:
                return True
