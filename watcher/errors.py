"""Everything that can go wrong, along two axes: whom it is about, and whether it may have cost something.

Foreign exceptions become one of these at one border each: the disk's in `folders`, the service's in
`identifai.client`, the configuration's in `config`, the database's in `store`.
"""

import errno
from enum import IntEnum

from watcher.domain import Charged, Fault

PASSING_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})
"""Errors of the system that pass by themselves, or once somebody has made room: worth another try."""


class Exit(IntEnum):
    """The exit codes of the commands."""

    WELL = 0
    INCOMPLETE = 1  # done, but something failed, is held or does not add up
    USAGE = 2
    UNAVAILABLE = 69  # the service or the account stands in the way
    RUNNING = 75  # another instance has the drop folder
    CONFIG = 78


class WatcherError(Exception):
    """Something went wrong, and a person can read what, where and what to do about it."""

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
    """Another instance has this drop folder."""

    code = "instance_running"
    exit_code = Exit.RUNNING


class StoreError(WatcherError):
    """The database can not be used as it is."""

    code = "store"
    exit_code = Exit.CONFIG


class StoreUnavailable(StoreError):
    """The database can not be used at this moment: locked, a full or failing disk. It is worth another try."""

    exit_code = Exit.INCOMPLETE


class StoreLost(StoreError):
    """There is no database, though there was one: none is begun in its place."""

    exit_code = Exit.UNAVAILABLE


class StoreContradicted(StoreError):
    """The database refused one row, which contradicts what it holds. Any other can be written."""

    exit_code = Exit.INCOMPLETE


class TransitionRefused(StoreContradicted):
    """No item ever goes from the one state to the other: a fault of the program, which stops this item alone."""


class LateWriter(WatcherError):
    """The item is not in the state, or not in the hands, that this step left it in: somebody else decided."""

    code = "late_writer"


class UsageError(WatcherError):
    """The command's words do not go together."""

    code = "usage"
    exit_code = Exit.USAGE


class NoSuchItem(WatcherError):
    """What a person named is no item, or more than one."""

    code = "no_such_item"
    exit_code = Exit.USAGE


# The folders


class FolderError(WatcherError):
    """A folder can not give or take a file now. Never a verdict on the file."""

    code = "folder"


class FolderMissing(FolderError):
    """The folder is not there: not mounted, never "empty"."""

    code = "folder_missing"


class FolderSilent(FolderMissing):
    """Its server does not answer: whoever asked it would wait without end."""

    code = "folder_silent"


class FolderForeign(FolderError):
    """The drop folder is another site's, or the database another drop folder's: nothing here may be touched."""

    code = "folder_foreign"
    exit_code = Exit.CONFIG


class FolderRefuses(FolderError):
    """The folder is there and takes or gives nothing: no permission, no space, read-only."""

    code = "folder_refuses"


class FolderFull(FolderRefuses):
    """There is no room for it: space, inodes, a quota, or a file system that takes no file so large."""

    code = "folder_full"


class TooLong(FolderRefuses):
    """A file is longer than any of ours of its name."""

    code = "too_long"


class Unreadable(FolderRefuses):
    """What has this name lies on a bad block: it can neither be looked at nor read."""

    code = "unreadable"


class NameTaken(FolderError):
    """Something lies under the name already; nothing was overwritten."""

    code = "name_taken"


# About this recording, found before a byte was sent


class RecordingError(WatcherError):
    """About this file alone. Nothing was sent."""

    code = "recording"


class RecordingRefused(RecordingError):
    """The service can not accept it, so it is not sent: it goes to failed/.

    `is_foreign`: nothing in it speaks for a recording at all, not even for one that the service does not take.
    """

    def __init__(self, code: str, message: str, *, hint: str, is_foreign: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.is_foreign = is_foreign


class RecordingChanged(RecordingError):
    """It is not the file that was vetted: it settles again."""

    code = "changed"


class RecordingGone(RecordingError):
    """It was taken away."""

    code = "gone"


class RecordingUnreachable(RecordingError):
    """It can not be read, or could not be moved afterwards: it waits, and says so."""

    code = "unreachable_file"


class RecordingBusy(RecordingUnreachable):
    """It can not be had at this moment, and will be: nobody need do anything."""

    code = "busy_file"


class RecordingStumbled(RecordingError):
    """It met an error that nobody foresaw: it waits, and the others go on."""

    code = "unforeseen"

    def __init__(self, error: Exception) -> None:
        """Not with its text, which nobody has cleaned of the key: that is in the log, which does so."""
        super().__init__(
            f"It could not be sent ({type(error).__name__}): nobody foresaw this",
            hint="It is tried again, and the others go on. Please report it, with what the log says.",
        )


class NoRoom(RecordingUnreachable):
    """done/ has no room for this recording, though smaller ones may have: it waits, and blocks nobody."""

    code = "no_room"


# What a queued recording waits for that lies in the folders, not at the service.
UNSENDABLE = (RecordingUnreachable.code, RecordingBusy.code, NoRoom.code)


# The service's answers, and the lack of them


class ServiceError(WatcherError):
    """A request did not end with what was asked for.

    `charged` says whether it may have cost a credit, `status` is the HTTP status where there was one,
    and `retry_after` the seconds the service asked to be left alone.
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
    """The whole request went out and no answer came back: in doubt."""

    code = "unanswered"


class Unintelligible(ServiceError):
    """The service said yes in words that name no identifier: in doubt."""

    code = "unintelligible"


class Throttled(ServiceError):
    """429: over a rate limit. `limit` is the X-RateLimit-Limit of the window that was hit."""

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
    """400, 413 or 422: the service's word for no credit, a wrong parameter, and a file it can not take."""

    code = "rejected"


class ServiceFault(ServiceError):
    """The service is not well."""

    code = "service_fault"


class Intercepted(ServiceError):
    """A proxy, a firewall or a web server between us and the service answered in its place, and refused."""

    code = "intercepted"
