"""Answers that the books have not taken yet: not one is forgotten, and each is tried again."""

import threading
from dataclasses import dataclass

from watcher import logs
from watcher.errors import StoreContradicted, StoreError, WatcherError
from watcher.identifai.client import Accepted
from watcher.journey.site import Site
from watcher.journey.submit.claim import Claim
from watcher.journey.submit.record import Outcomes

_log = logs.get_logger(__name__)

_STUMBLED_SECONDS = 5.0  # until an answer is recorded that nobody foresaw an error about; then twice as long, …
_MOST_STUMBLED_SECONDS = 600.0
_FINISH_SECONDS = 5.0  # so long a stop tries to record the last answer


@dataclass(slots=True)
class Answer:
    """What came of a claim, and when; until it is recorded."""

    claim: Claim
    what: Accepted | WatcherError
    at: float
    is_told: bool = False  # in the log, since the books do not take it


@dataclass(slots=True)
class Stumble:
    """An answer whose attempt has its end, and whose item has not moved on: nobody foresaw why."""

    answer: Answer
    due_at: float  # monotonic
    seconds: float = _STUMBLED_SECONDS  # after which it is tried again


class UnrecordedAnswers:
    """The answer to one's own latest upload, until it is recorded, and those that met an error nobody foresaw."""

    def __init__(self, site: Site, outcomes: Outcomes) -> None:
        self._site = site
        self._outcomes = outcomes
        self._unrecorded: Answer | None = None
        self._stumbles: list[Stumble] = []

    def keep(self, claim: Claim, answer: Accepted | WatcherError) -> None:
        """The answer is recorded, or will be: see `record`."""
        self._unrecorded = Answer(claim, answer, self._site.clock.now())
        self.record()

    def record(self) -> None:
        """What came of the upload is in the books. Should they not take it (a full disk), the next step does.

        After an error that nobody foresaw the ledger alone has it, which is what must not be lost, and all that
        others wait for.
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
        """Once: until the books take it, the answer stands nowhere but in this process and in the log."""
        if left.is_told:
            return
        left.is_told = True
        answer, item = left.what, left.claim.item
        _log.error(
            "answer.unrecorded",
            item=item.id,
            path=item.path,
            identifier=answer.identifier if isinstance(answer, Accepted) else None,
            answer="accepted" if isinstance(answer, Accepted) else answer.message,
            reason=str(error),
            hint="Make the database writable again (room on its disk, its rights): the answer is recorded then. "
            "Do not end the process before; should it end, this line has the answer.",
        )

    def record_what_stumbled(self) -> None:
        """Answers that only the ledger has are recorded, if they can be by now."""
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
        """For a stop, when no step runs any more: the last answer is in the books. False: they do not take it."""
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


def is_of_the_store(error: Exception) -> bool:
    """Whether the database could not be used at all, which is no recording's trouble."""
    return isinstance(error, StoreError) and not isinstance(error, StoreContradicted)
