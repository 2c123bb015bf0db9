"""All our errors, along two axes: what they are about, and whether they may have cost something.

Foreign exceptions are turned into these in one place each: the disk's in `folders`, the service's in
`identifai.client`, the configuration's in `config`, the database's in `store`.
"""

import errno
from enum import IntEnum

from watcher.domain import Charged, Fault

PASSING_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})
"""System errors that pass by themselves, or once somebody frees space: worth another try."""


class Exit(IntEnum):
    """The exit codes of the commands."""

    WELL = 0
    INCOMPLETE = 1  # done, but something failed, is held or does not match
    USAGE = 2
    UNAVAILABLE = 69  # the service or the account refuses, or cannot be reached
    RUNNING = 75  # another instance holds the drop folder
    CONFIG = 78


class WatcherError(Exception):
    """The base of our errors: the message says what went wrong and where, the hint what to do."""

    code = "error"
    exit_code = Exit.INCOMPLETE

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def as_fault(self) -> Fault:
        return Fault(self.code, self.message, self.hint)


# The machine, the configuration, the database


class ConfigError(WatcherError):
    """The configuration is wrong. The message names the file, the key and what was expected."""

    code = "config"
    exit_code = Exit.CONFIG


class InstanceRunning(WatcherError):
    """Another instance holds this drop folder."""

    code = "instance_running"
    exit_code = Exit.RUNNING


class LeaseHeld(InstanceRunning):
    """Another node works on this site, or with tables of another version."""

    code = "lease_held"


class StoreError(WatcherError):
    """The database cannot be used as it is."""

    code = "store"
    exit_code = Exit.CONFIG


class StoreUnavailable(StoreError):
    """The database cannot be used right now: it is locked, or the disk is full or failing. Worth another try."""

    exit_code = Exit.INCOMPLETE


class StoreAway(StoreUnavailable):
    """The database's server is away, or takes nothing now. The store tells it, once for all that meet it."""


class StoreLost(StoreError):
    """The database that was here is gone. None is created in its place."""

    exit_code = Exit.UNAVAILABLE


class StoreLeaseLost(StoreError):
    """Another node works on this site now: nothing that this one would write counts any more."""

    exit_code = Exit.RUNNING


class StoreContradicted(StoreError):
    """The database refused one row that contradicts what it holds. Other rows can still be written."""

    exit_code = Exit.INCOMPLETE


def is_of_the_store(error: Exception) -> bool:
    """Return whether the database could not be used at all: no single recording is to blame."""
    return isinstance(error, StoreError) and not isinstance(error, StoreContradicted)


class TransitionRefused(StoreContradicted):
    """The table of transitions does not allow this one: a bug, which stops only this item."""


class ToldToEnd(WatcherError):
    """A signal ended the daemon while it was still waiting for its turn."""

    exit_code = Exit.WELL


class StaleItem(WatcherError):
    """The item has changed since this step read it: another step or a person has decided on it."""

    code = "late_writer"


class ClockDoubted(WatcherError):
    """The machine's clock is so far ahead of all that is known that it may be wrong."""


class UsageError(WatcherError):
    """The command's arguments do not go together."""

    code = "usage"
    exit_code = Exit.USAGE


class NoSuchItem(WatcherError):
    """The name that a person gave matches no item, or more than one."""

    code = "no_such_item"
    exit_code = Exit.USAGE


class NotAtRest(WatcherError):
    """The item is under way, or a person must decide on it first."""

    code = "not_at_rest"
    exit_code = Exit.USAGE


# The folders


class FolderError(WatcherError):
    """A folder cannot give or take a file right now. This is never held against the file."""

    code = "folder"


class FolderMissing(FolderError):
    """The folder is not there, for instance not mounted. A missing folder is never taken for an empty one."""

    code = "folder_missing"


class FolderSilent(FolderMissing):
    """The folder's server does not answer: any call to it could hang for ever."""

    code = "folder_silent"


class FolderForeign(FolderError):
    """The drop folder belongs to another site, or the database to another drop folder: touch nothing."""

    code = "folder_foreign"
    exit_code = Exit.CONFIG


class FolderRefuses(FolderError):
    """The folder is there but refuses: no permission, no space, or mounted read-only."""

    code = "folder_refuses"


class FolderFull(FolderRefuses):
    """No room: no space or inodes left, a quota used up, or a file larger than the file system takes."""

    code = "folder_full"


class TooLong(FolderRefuses):
    """The file is longer than any that we write under this name."""

    code = "too_long"


class Unreadable(FolderRefuses):
    """The file lies on a bad block: it can be neither examined nor read."""

    code = "unreadable"


class NameTaken(FolderError):
    """The name is taken. Nothing was overwritten."""

    code = "name_taken"


# About this recording, found before anything was sent


class RecordingError(WatcherError):
    """About this file alone. Nothing was sent."""

    code = "recording"


class RecordingRefused(RecordingError):
    """The service could not accept the recording, so it is not sent: it goes to failed/.

    `is_foreign`: it does not look like a recording at all, not even of a format that the service does not take.
    """

    def __init__(self, code: str, message: str, *, hint: str, is_foreign: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.is_foreign = is_foreign


class CodecDied(RecordingError):
    """The process that decodes the recording came to no good end. It may be the machine's fault: once."""

    code = "codec_died"


class RecordingChanged(RecordingError):
    """The file is no longer the one that was examined: it has to settle again."""

    code = "changed"


class RecordingGone(RecordingError):
    """The recording was removed."""

    code = "gone"


class RecordingUnreachable(RecordingError):
    """The recording cannot be read, or could not be moved afterwards: it waits, and the reason is shown."""

    code = "unreachable_file"


class RecordingBusy(RecordingUnreachable):
    """The recording is in use right now. It is tried again; nobody has to do anything."""

    code = "busy_file"


class RecordingStumbled(RecordingError):
    """An unexpected error concerns this recording: it waits, and the others go on."""

    code = "unforeseen"

    def __init__(self, error: Exception) -> None:
        """Leave out the error's text, which may contain the key: the log has it, redacted."""
        super().__init__(
            f"It could not be sent: unexpected error ({type(error).__name__})",
            hint="It is tried again, and the others go on. Please report this, with the log.",
        )


class NoRoom(RecordingUnreachable):
    """done/ has no room for this recording, though perhaps for smaller ones: it waits, and blocks no other."""

    code = "no_room"


# What can keep a queued recording waiting because of the folders, not the service.
UNSENDABLE = (RecordingUnreachable.code, RecordingBusy.code, NoRoom.code)


# The service's answers, or the lack of them


class ServiceError(WatcherError):
    """A request failed.

    `charged` says whether it may have cost a credit, `status` is the HTTP status where there was one,
    and `retry_after` how many seconds the service asked us to wait.
    """

    code = "service"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        charged: Charged = Charged.NO,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.charged = charged
        self.status = status
        self.retry_after = retry_after


class NeverSent(ServiceError):
    """The service was not reached, or the body was cut off before its end: nothing can have been charged."""

    code = "unreachable"


class Unanswered(ServiceError):
    """The whole request was sent and no answer came back: in doubt."""

    code = "unanswered"


class Unintelligible(ServiceError):
    """The service reported success but gave no identifier: in doubt."""

    code = "unintelligible"


class Throttled(ServiceError):
    """429: over a rate limit. `limit` is the X-RateLimit-Limit of the window that was exceeded."""

    code = "throttled"

    def __init__(self, message: str, *, retry_after: float | None = None, limit: int | None = None) -> None:
        super().__init__(message, status=429, retry_after=retry_after)
        self.limit = limit


class Unauthorized(ServiceError):
    """401: the key is missing, wrong or revoked."""

    code = "unauthorized"


class Forbidden(ServiceError):
    """403: not authorised for this, or the terms of service are not accepted."""

    code = "forbidden"


class Rejected(ServiceError):
    """400, 413 or 422: no credit, a wrong parameter, or a file that the service cannot take."""

    code = "rejected"


class ServiceFault(ServiceError):
    """The service failed: 5xx, or a status that fits nothing else."""

    code = "service_fault"


class Intercepted(ServiceError):
    """A proxy, a firewall or a web server on the way answered in the service's place, and refused."""

    code = "intercepted"
