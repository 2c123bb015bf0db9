"""Check the folders: they exist, are ours and writable, have room, and a recording can go its whole way."""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from itertools import islice

from watcher.cli.checking.finding import Condition, Finding, warning, well, wrong
from watcher.cli.checking.newcomers import check_newcomers
from watcher.cli.checking.subfolders import check_privacy, check_subfolders
from watcher.errors import ConfigError, FolderError, FolderMissing, RecordingError, RecordingGone
from watcher.folders import RESERVE_BYTES, Folder, is_being_written, move
from watcher.folders.capability import CAP_FOWNER, CAP_LEASE, has_capability
from watcher.folders.identity import Past, recognise
from watcher.folders.names import check_note_name, draft_name
from watcher.folders.nature import examine
from watcher.folders.rights import Lack
from watcher.ignore import Ignore
from watcher.journey.arrive.foreign import may_be_left
from watcher.journey.arrive.watch import choose_watch
from watcher.mounts import Part, mount_of, mounts_below, parts_of, read_exports, read_mounts, resolve
from watcher.text import name_once, show_path
from watcher.views.context import CommandContext
from watcher.views.knowledge import Known
from watcher.views.status import find_altered

_FILES_LOOKED_AT = 300
_FILES_NAMED = 3
_CACHED_SECONDS = 35  # for which a client may cache what it writes: Linux's 30, and 5 between two flushes
_PROBE = b"A test file of watcher check. It may be removed.\n"
_ROOM_FOR = 100  # of the largest recordings: with less room, give a warning


def check_premises(context: CommandContext, known: Known) -> Iterator[Finding]:
    """Check the three folders and the moves between them. Leaves nothing there, and creates no marks."""
    folders = [context.drop, context.done, context.failed]
    findings = [_check_folder(context, known, folder) for folder in folders]
    yield from findings
    if all(finding.state is not Condition.WRONG for finding in findings):
        yield from _check_way(context)
        yield from _check_mounts(folders)
        yield check_subfolders(context)
        yield check_privacy([context.done, context.failed])
        yield from check_newcomers(context)
    if findings[0].state is not Condition.WRONG:
        yield _check_files(context, known)
    if known.blocked:
        yield _check_blocked(known)
    if known.stuck:
        yield _check_stuck(known)
    yield from _check_altered(context, known)


def _check_folder(context: CommandContext, known: Known, folder: Folder) -> Finding:
    name = f"{folder.name} folder"
    largest = context.config.limits.max_upload_bytes
    try:
        with folder.opened() as here:
            status, room = os.fstat(here), os.fstatvfs(here)
        recognise(folder, known.folders.get(folder.name, Past()))
        folder.check_takes(0)
    except FolderMissing as error:
        return Finding.of(name, error if known.is_started else _first_start(context, folder))
    except FolderError as error:
        return Finding.of(name, error)
    if status.st_mode & stat.S_ISVTX and os.geteuid() != status.st_uid and not has_capability(CAP_FOWNER):
        return wrong(
            name,
            f"{show_path(folder.root)} is sticky: only a file's owner may move it out",
            f"Remove the sticky bit: chmod -t {folder.quoted()}",
        )
    mount = mount_of(resolve(folder.root), read_mounts())
    kind = f"{mount.kind} from {mount.source}" if mount and mount.is_network else mount.kind if mount else "?"
    free = room.f_bavail * room.f_frsize
    found = f"{show_path(folder.root)} ({kind}, {free / 1e9:,.1f} GB free)"
    if room.f_blocks and free < largest + RESERVE_BYTES and folder.name != "drop":
        found = f"{show_path(folder.root)} has {free:,} bytes free: a larger recording waits until there is room"
        return warning(name, found, f"Free space for {folder.quoted()}: a recording may have {largest:,} bytes.")
    if room.f_blocks and free < _ROOM_FOR * largest:
        hint = f"There is room for {free // largest:,} of the largest recordings: free some space soon."
        return warning(name, found, hint)
    return well(name, found)


def _is_own(folder: Folder, path: bytes) -> bool:
    """Whether the file that was filed there belongs to the service, and nobody else may write it."""
    status = os.stat(os.path.join(folder.root, path), follow_symlinks=False)
    return stat.S_IMODE(status.st_mode) == 0o640 and status.st_uid in (os.geteuid(), os.stat(folder.root).st_uid)


def _first_start(context: CommandContext, folder: Folder) -> ConfigError:
    """What `watcher run` says about a missing folder at the first start, when it does not wait for a mount."""
    config = show_path(os.fsencode(context.config.path))
    return ConfigError(
        f"{config}: folders.{folder.name}: {show_path(folder.root)} does not exist",
        hint=f"Create it (mkdir -p {folder.quoted()}), or correct the configuration.",
    )


# The way of a recording


def _check_way(context: CommandContext) -> Iterator[Finding]:
    """Move a hidden file of ours from drop/ to done/, to failed/ and back, as a recording would be."""
    # After a kill, the daemon's next start removes what is left: always in the drop folder, and in the two others
    # as long as the note is there.
    token = secrets.token_hex(8)
    path, note = draft_name(f"check-{token}"), check_note_name(token)
    drop = context.drop
    copied, shared = [], []
    is_written: bool | None = None
    try:
        drop.write_whole(note, _PROBE, replacing=False)
        for target in (context.done, context.failed):
            drop.write_whole(path, _PROBE, replacing=False)
            is_written = _is_written(drop, path)
            before = drop.fingerprint(path)
            after = move(drop, path, target, path, before, sha256=sha256(_PROBE).hexdigest())
            if not target.owning and not after.same_file(before):
                copied.append(target)
            if target.owning and not _is_own(target, path):
                shared.append(target)
            if target.name == "failed":
                move(target, path, drop, path, after, sha256=sha256(_PROBE).hexdigest())
            for folder in (drop, target):
                folder.remove(path)
    except (FolderError, RecordingError) as error:
        yield Finding.of("filing", error)
        return
    finally:
        for folder, name in ((drop, path), (context.done, path), (context.failed, path), (drop, note)):
            with suppress(FolderError):
                folder.remove(name)
    if shared:
        names = " and ".join(f"{target.name}/" for target in shared)
        yield warning(
            "owning",
            f"folders.own is set, but files created in {names} get another owner or a mode other than 0640",
            "The file system or its mount options decide that: others may change what is filed there.",
        )
    if copied:
        names = " and ".join(f"{target.name}/" for target in copied)
        yield warning(
            "filing",
            f"{names} can only be reached by copying, not by a rename: each recording is written once more",
            "This is safe, but slower. A rename needs all three folders on one file system, in one mount.",
        )
    else:
        yield well("filing", "a test file was moved from drop/ to done/, to failed/ and back, by rename")
    yield from _check_proof(context, is_told=is_written is not None)


def _check_mounts(folders: list[Folder]) -> Iterator[Finding]:
    """What each mount that has our folders is like, and what to set there."""
    name, told = "mount", set()
    mounts, exports = read_mounts(), read_exports()
    for folder in folders:
        for part in parts_of(resolve(folder.root), mounts, exports):
            if part.mount in told:
                continue
            told.add(part.mount)
            try:
                nature = examine(folder, part)
            except (FolderError, RecordingError) as error:
                yield Finding.of(name, error)
                continue
            found = f"{show_path(part.mount.point if part.mount else part.path)}: {nature}"
            if nature.lock_refused:
                hint = "Enable locks on its server and mount (SMB: with nobrl they stay on this machine)."
                yield wrong(name, f"{found}; locks are refused ({nature.lock_refused})", hint)
            elif part.name_limits and part.mount and "iocharset=utf8" not in part.mount.options:
                yield warning(name, found, "Mount it with iocharset=utf8.")
            else:
                yield well(name, found)


def _is_written(drop: Folder, path: bytes) -> bool | None:
    file, _ = drop.open(path)
    with file:
        return is_being_written(file)


def _check_proof(context: CommandContext, *, is_told: bool) -> Iterator[Finding]:
    """How soon a recording is taken. `is_told`: the kernel says whether a file of ours is being written."""
    arrivals = context.config.arrivals
    quiet = f"after {arrivals.settle_seconds:g} s without a change"
    unclosed = f"after {arrivals.unclosed_seconds:g} s without a change"
    known = f"when their close was seen, else {unclosed}"
    if not arrivals.proof:
        yield well("proof", f"off (arrivals.proof): closed recordings are taken {quiet}, others {unclosed}")
    elif not is_told:
        hint = "If writers pause for longer, raise arrivals.unclosed_seconds, or have them create a marker"
        found = f"the kernel cannot say here whether a file is being written: recordings are taken {known}"
        yield warning("proof", found, f"{hint} (arrivals.marker).")
    elif not has_capability(CAP_LEASE):
        found = "this user's own recordings are taken once they are closed and provably complete"
        yield well("proof", f"{found}; those of others, without CAP_LEASE, {known}")
    else:
        yield well("proof", "recordings are taken as soon as they are closed and provably complete")
    parts = parts_of(resolve(context.drop.root), read_mounts(), read_exports())
    is_heard = choose_watch(context.drop.root, arrivals.watch)[0] == "events"
    for part in parts:
        if part.elsewhere:
            yield _check_part(part, arrivals.unclosed_seconds)
        elif len(parts) > 1 or not is_heard:
            yield _check_local_part(part, arrivals.unclosed_seconds, is_heard=is_heard)


def _check_local_part(part: Part, seconds: float, *, is_heard: bool) -> Finding:
    """How a close is known where only this machine writes, or else what protects a recording."""
    where = f"{show_path(part.path)}: it is {part.mount or 'an unknown file system'}"
    if is_heard:
        return well("closure", f"{where}; events tell when a recording is closed")
    if has_capability(CAP_LEASE):
        return well("closure", f"{where}; polled, and a lease tells whether a recording is being written")
    found = f"{where}; polled, and without CAP_LEASE no close of another user's recording can be known"
    return well("closure", f"{found}: it is taken {_unchanged(seconds)}")


def _unchanged(seconds: float) -> str:
    return f"after {seconds:g} s without a change (arrivals.unclosed_seconds)"


def _check_part(part: Part, seconds: float) -> Finding:
    """What protects a recording that is still being written, where its close cannot be known."""
    where = f"{show_path(part.path)}: {part.elsewhere}; no close can be known"
    found = f"{where}, so recordings there are taken {_unchanged(seconds)}"
    if seconds > _CACHED_SECONDS:
        return well("closure", found)
    hint = (
        f"Raise it above {_CACHED_SECONDS}: a client's cache can make a file look unchanged for so long. "
        "Or have writers use a temporary name first, or create a marker (arrivals.marker)."
    )
    return warning("closure", found, hint)


def _check_altered(context: CommandContext, known: Known) -> Iterator[Finding]:
    """Filed recordings that were altered since and are still there."""
    for one in find_altered(context, known.altered):
        folder, path = context.filed_in(one.item), one.item.filed_as or b""
        yield warning(one.fault.code, f"{folder.name}/{show_path(path)}: {one.fault.message}", one.fault.hint)


def _check_blocked(known: Known) -> Finding:
    shown = "\n".join(name_once(one.path, one.fault.message) for one in known.blocked)
    found = f"{known.blocked_total:,} cannot be read, moved or filed, so not sent; the oldest:\n{shown}"
    return wrong("blocked", found, known.blocked[0].fault.hint or "`watcher why FILE` says more.")


def _check_stuck(known: Known) -> Finding:
    shown = "\n".join(name_once(one.path, one.fault.message) for one in known.stuck)
    found = f"{known.stuck_total:,} cannot be moved, or their receipts cannot be written; the oldest:\n{shown}"
    return wrong("stuck", found, known.stuck[0].fault.hint or "`watcher why FILE` says more.")


# The files in the drop folder


def _check_files(context: CommandContext, known: Known) -> Finding:
    """Whether this user can read the files in the drop folder and move them out; the first 300 are checked."""
    drop, name = context.drop, "recordings"
    real = resolve(drop.root)
    mounted = {mount.point[len(real) :].lstrip(b"/") for mount in mounts_below(real, read_mounts())}
    away = [point for point in known.mounts if point not in mounted and os.path.isdir(os.path.join(real, point))]
    if away:
        return wrong(
            name,
            f"nothing is mounted at {show_path(away[0])} in the drop folder, though something was before",
            f"Mount it again, or remove {drop.quoted(away[0])} if it is no longer used; its files wait.",
        )
    troubles, lack, looked_at, is_all = _look_at_files(context)
    some = f"{looked_at:,}" if is_all else f"the first {looked_at:,}"
    if not troubles:
        found = f"{some} in the drop folder, all readable and movable" if looked_at else "none in the drop folder"
        return well(name, found)
    shown = "\n".join(message for message, _ in troubles[:_FILES_NAMED])
    return wrong(
        name,
        f"{len(troubles):,} of {some} cannot be taken, and will wait unsent:\n{shown}",
        "\n".join(filter(None, [lack.remedy, *[hint for _, hint in troubles if hint][:1]])),
    )


def _look_at_files(context: CommandContext) -> tuple[list[tuple[str, str]], Lack, int, bool]:
    """What cannot be taken, the rights that are missing, how many files were checked, and whether all were."""
    drop = context.drop
    troubles: list[tuple[str, str]] = []
    looked_at, lack = 0, Lack()
    scan = drop.walk(Ignore(context.config.arrivals.ignore).matching)
    try:
        for entry in islice((e for e in scan if e.kind == "file"), _FILES_LOOKED_AT):
            try:
                drop.check_gives(entry.path)
            except RecordingGone:
                continue
            except (RecordingError, FolderError) as error:
                if may_be_left(context.config, entry.path):
                    continue
                lacking = drop.lack(entry.path)
                lack |= lacking
                troubles.append((error.message, "" if lacking else error.hint))
            looked_at += 1
    except FolderError as error:
        troubles.append((error.message, error.hint))
    for path, reason in scan.unreadable:
        found = f"{drop.label(path)} cannot be looked into ({reason})"
        lacking = drop.lack(path, moving=False)
        lack |= lacking
        troubles.append((found, "" if lacking else drop.hint_to_enter(path, reason)))
    return troubles, lack, looked_at, looked_at < _FILES_LOOKED_AT
