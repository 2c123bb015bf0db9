"""The states of an item and of its parts: the tables of their transitions, and the sets of them."""

from enum import StrEnum


class State(StrEnum):
    """Where an item stands. A past participle is at rest; a word in -ing may be half done, and recovery owns it.

    A recording that is not whole yet has no row and no state: the next scan sees it again.
    """

    PREPARING = "preparing"  # examined; its parts are being made in the spool, or are to be
    QUEUED = "queued"  # whole and examined, due at `due_at`; some of its parts may have been accepted
    SUBMITTING = "submitting"  # the spend is committed, bytes may be on the wire
    FILING = "filing"  # answer and destination are committed
    DONE = "done"  # it lies there with its receipt
    FAILED = "failed"  # likewise
    HELD = "held"  # a person must decide; the file is untouched
    RETURNING = "returning"  # asked back from failed/
    WITHDRAWN = "withdrawn"  # its file was taken away before it was sent


class Mover(StrEnum):
    """Who takes an item from one state to another."""

    ARRIVE = "arrive"  # the look at the drop folder, and admission
    PREPARE = "prepare"  # its parts are made
    SUBMIT = "submit"  # for the item itself, and for those with the same bytes
    FILE = "file"
    RECOVER = "recover"  # at a start, after a crash; and by the command of that name, from receipts
    PERSON = "person"


TRANSITIONS: dict[State | None, dict[State, tuple[Mover, ...]]] = {
    None: {
        State.PREPARING: (Mover.ARRIVE, Mover.RECOVER),
        State.QUEUED: (Mover.ARRIVE,),
        State.FILING: (Mover.ARRIVE, Mover.RECOVER),  # refused unsent, or answered for the same bytes
        State.DONE: (Mover.RECOVER,),
        State.FAILED: (Mover.RECOVER,),
        State.HELD: (Mover.ARRIVE, Mover.RECOVER),  # as the original of its bytes is; or lost, and in doubt
        State.WITHDRAWN: (Mover.RECOVER,),  # only its parts, or its identifier, are left
    },
    State.PREPARING: {
        State.PREPARING: (Mover.ARRIVE, Mover.PREPARE, Mover.RECOVER),  # under other numbers; being made; in doubt
        State.QUEUED: (Mover.PREPARE,),
        State.FILING: (Mover.PREPARE, Mover.RECOVER),  # it has no sound, would be too many parts, or no decoder
        State.DONE: (Mover.RECOVER,),
        State.FAILED: (Mover.RECOVER,),
        State.HELD: (Mover.PREPARE, Mover.RECOVER),  # what is in doubt cannot be made again
        State.WITHDRAWN: (Mover.ARRIVE, Mover.PREPARE),
    },
    State.QUEUED: {
        State.PREPARING: (Mover.PREPARE, Mover.SUBMIT),  # none of its parts is made, or its file is gone
        State.QUEUED: (Mover.ARRIVE, Mover.SUBMIT, Mover.RECOVER),  # postponed; under other numbers; in doubt
        State.SUBMITTING: (Mover.SUBMIT,),
        State.FILING: (Mover.SUBMIT, Mover.RECOVER),  # answered for the same bytes
        State.DONE: (Mover.RECOVER,),
        State.FAILED: (Mover.RECOVER,),
        State.HELD: (Mover.SUBMIT, Mover.RECOVER),
        State.WITHDRAWN: (Mover.ARRIVE,),
    },
    State.SUBMITTING: {
        State.QUEUED: (Mover.SUBMIT, Mover.RECOVER),
        State.FILING: (Mover.SUBMIT, Mover.RECOVER),
        State.DONE: (Mover.RECOVER,),
        State.FAILED: (Mover.RECOVER,),
        State.HELD: (Mover.SUBMIT, Mover.RECOVER),
        State.WITHDRAWN: (Mover.SUBMIT,),  # it changed while it was sent, and its body was cut off
    },
    State.FILING: {
        State.FILING: (Mover.FILE, Mover.RECOVER),  # under another name, committed before it is used
        State.DONE: (Mover.FILE, Mover.RECOVER),
        State.FAILED: (Mover.FILE, Mover.RECOVER),
    },
    State.DONE: {
        # Completed with the recording whose parts it shares; moved on within done/; reviewed; from its receipt.
        State.DONE: (Mover.SUBMIT, Mover.FILE, Mover.PERSON, Mover.RECOVER),
        State.FILING: (Mover.RECOVER,),
        State.RETURNING: (Mover.PERSON,),  # by `retry`, where the service did not accept all of its parts
    },
    State.FAILED: {
        State.FAILED: (Mover.PERSON, Mover.RECOVER),  # dismissed, reviewed
        State.FILING: (Mover.RECOVER,),
        State.DONE: (Mover.RECOVER,),
        State.RETURNING: (Mover.PERSON, Mover.ARRIVE),  # by `retry`, or dragged back into the drop folder
    },
    State.HELD: {
        State.QUEUED: (Mover.PERSON, Mover.SUBMIT),  # released, or the original of its bytes was
        State.FILING: (Mover.PERSON, Mover.SUBMIT, Mover.RECOVER),
        State.DONE: (Mover.RECOVER,),
        State.FAILED: (Mover.RECOVER,),
        State.HELD: (
            Mover.ARRIVE,
            Mover.SUBMIT,
        ),  # itself under other numbers; or it waits for another with its bytes
        State.WITHDRAWN: (Mover.ARRIVE,),
    },
    State.RETURNING: {
        State.RETURNING: (Mover.FILE,),  # under another name, committed before it is used
        State.PREPARING: (Mover.FILE,),
        State.QUEUED: (Mover.FILE,),
        State.FILING: (Mover.FILE, Mover.RECOVER),
        State.HELD: (Mover.FILE,),
        State.DONE: (Mover.FILE, Mover.RECOVER),  # its recording is nowhere
        State.FAILED: (Mover.FILE, Mover.RECOVER),  # likewise
    },
    State.WITHDRAWN: {  # its file is back
        State.PREPARING: (Mover.ARRIVE,),
        State.QUEUED: (Mover.ARRIVE,),
        State.FILING: (Mover.ARRIVE, Mover.RECOVER),
        State.DONE: (Mover.RECOVER,),
        State.FAILED: (Mover.RECOVER,),
        State.HELD: (Mover.ARRIVE,),
    },
}
"""Every change of an item's state, and who may make it. The store refuses any other.

From None: the item is new. From a state to itself: another field of the item changes, and only in that state.
RECOVER brings a row to where its receipt has it, if that knows more, as after an older copy was restored.
"""

AFTER_CRASH = {
    State.PREPARING: "make its parts again",
    State.QUEUED: "nothing to do",
    State.SUBMITTING: "the ledger tells: not sent, accepted, or in doubt",
    State.FILING: "repeat the move",
    State.DONE: "nothing to do",
    State.FAILED: "nothing to do",
    State.HELD: "nothing to do",
    State.RETURNING: "repeat the move",
    State.WITHDRAWN: "nothing to do",
}
"""What a crash in each state leaves to the next start."""

HALF_DONE = frozenset(state for state in State if state.endswith("ing"))
"""The states in which a step has begun something outside the database."""

AT_REST = frozenset(State) - HALF_DONE - {State.QUEUED}
"""The states that end only by a person, by a file that goes or comes, or with an original of the same bytes."""

UNDER_WAY = frozenset(State) - AT_REST
"""The states that the daemon ends by itself."""

PATIENT = HALF_DONE - {State.SUBMITTING}
"""The states in which what stands in the way of a step is written down, and the step tried again and again."""

MOVING = PATIENT - {State.PREPARING}
"""The states in which a file is on its way between two folders."""

UNDECIDED = UNDER_WAY - {State.FILING}
"""The states in which the service has not answered, and is or will be asked: the same bytes wait for that."""

UNSENT = UNDECIDED - {State.SUBMITTING}
"""Those of them in which it is not being asked now."""

BACKLOG = UNDECIDED - MOVING
"""Those of them in which its recording lies in the drop folder."""

IN_DROP = frozenset({State.PREPARING, State.QUEUED, State.SUBMITTING, State.FILING, State.HELD})
"""The states in which an item's recording lies in the drop folder."""

LIVE = IN_DROP | {State.RETURNING}
"""The states in which no other item may have the same path in the drop folder."""

UNTOUCHED = IN_DROP - {State.SUBMITTING, State.FILING}
"""The states in which its recording lies in the drop folder, and whoever takes it away takes it back."""

WAITING = UNTOUCHED - HALF_DONE
"""Those of them in which it may wait for another recording of the same bytes."""

FILED = frozenset({State.DONE, State.FAILED})
"""The states in which its recording lies in done/ or failed/."""

UNANSWERED = frozenset({State.FAILED, State.WITHDRAWN})
"""The states at rest in which an identifier may never come."""


class PartState(StrEnum):
    """Where one part of a recording stands. Its recording's state says what a step has in hand."""

    QUEUED = "queued"  # its boundaries and sha256 are committed; it is to be sent
    SUBMITTING = "submitting"  # the spend is committed, bytes may be on the wire
    ACCEPTED = "accepted"  # it has its identifier
    REFUSED = "refused"  # by the service, by a person, or unsent, since there is no sound in it
    HELD = "held"  # a person must decide


PART_TRANSITIONS: dict[PartState | None, frozenset[PartState]] = {
    # With the same bytes; silent; or in doubt, after a loss.
    None: frozenset({PartState.QUEUED, PartState.ACCEPTED, PartState.REFUSED, PartState.HELD}),
    PartState.QUEUED: frozenset(PartState),
    PartState.SUBMITTING: frozenset({PartState.QUEUED, PartState.ACCEPTED, PartState.REFUSED, PartState.HELD}),
    PartState.ACCEPTED: frozenset(),  # what is paid for stays so
    PartState.REFUSED: frozenset({PartState.QUEUED}),  # by `retry`
    PartState.HELD: frozenset({PartState.QUEUED, PartState.ACCEPTED, PartState.REFUSED}),
}
"""Every change of a part's state. The store refuses any other."""

UNSETTLED = frozenset({PartState.QUEUED, PartState.SUBMITTING, PartState.HELD})
"""The states of a part of which it is not known yet what becomes of it."""

SENT = frozenset({PartState.SUBMITTING, PartState.ACCEPTED})
"""The states of a part that was charged, or may be just now."""
