"""The API key: where it is read from, and how it is kept from being shown."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn, Self

from watcher.config import Config
from watcher.config.loading import open_file
from watcher.errors import ConfigError
from watcher.mounts import mount_of, read_mounts, resolve
from watcher.text import quote_path, show_path

KEY_VARIABLE = "IDENTIFAI_API_KEY"
CREDENTIAL = "identifai.key"
_KEY_BYTES = 4_096
_MODELESS = frozenset(  # kinds of file system that have one mode for all files, from the mount's options
    ["vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk", "cifs", "smb3", "drvfs", "vboxsf", "iso9660"]
)


class KeyStamp(NamedTuple):
    """Identifies the file that a key was read from, in the version that was read."""

    path: str
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: str, status: os.stat_result) -> Self:
        return cls(path, status.st_ino, status.st_size, status.st_mtime_ns)

    def still_holds(self) -> bool:
        """Return whether the file is unchanged; true if we may not look."""
        try:
            return self.of(self.path, os.stat(self.path)) == self
        except OSError:
            return True


class Key:
    """The API key. Printed by accident, it shows as "<key>"; only `reveal` returns its text."""

    __slots__ = ("_text", "is_fixed", "source", "stamp", "warning")

    def __init__(
        self,
        text: str,
        source: str,
        warning: str = "",
        *,
        is_fixed: bool = False,
        stamp: KeyStamp | None = None,
    ) -> None:
        self._text = text
        self.source = source  # where it was read from, for a person
        self.warning = warning  # what is unsafe about that place, and the remedy; "" if nothing
        self.is_fixed = is_fixed  # true for the environment and a credential: they do not change while we run
        self.stamp = stamp  # of its file when it was read

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "<key>"

    def __format__(self, spec: str) -> str:
        return format("<key>", spec)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("the key is not copied, pickled or sent anywhere")


def read_key(config: Config, environ: Mapping[str, str]) -> Key:
    """Return the API key from $IDENTIFAI_API_KEY, else systemd's credential, else `identifai.api_key_file`.

    An empty variable counts as not set. The first place that has anything decides: raises ConfigError where that
    is no key, or where no place has one. The error never repeats what was found.
    """
    if handed := read_handed(environ):
        return handed
    key_file, directory = config.identifai.api_key_file, environ.get("CREDENTIALS_DIRECTORY", "")
    found = _read_key_file(key_file)
    if found is not None:
        content, exposure, stamp = found
        return Key(_checked(content, _text(key_file)), _text(key_file), exposure, stamp=stamp)
    credential = f"systemd's credential {CREDENTIAL} ({'not there' if directory else 'no $CREDENTIALS_DIRECTORY'})"
    raise ConfigError(
        f"no API key found; looked at ${KEY_VARIABLE} (empty or not set), {credential}"
        f" and {_text(key_file)} (identifai.api_key_file; does not exist)",
        hint=f"write the key into {_text(key_file)}, mode 600, or set ${KEY_VARIABLE}",
    )


def read_handed(environ: Mapping[str, str], *, whose: str = "") -> Key | None:
    """Return the key that a process with this environment is given, by variable or credential; None for neither.

    `whose`: whose environment it is, for messages. Raises ConfigError as read_key does.
    """
    value = environ.get(KEY_VARIABLE, "")
    if value.strip():
        source = f"${KEY_VARIABLE}{whose}"
        return Key(_checked(value.encode("utf-8", "surrogateescape"), source), source, is_fixed=True)
    directory = environ.get("CREDENTIALS_DIRECTORY", "")
    try:
        return read_credential(Path(directory, CREDENTIAL)) if directory else None
    except ConfigError as error:  # the credential is a copy that systemd made at the start: name its source
        hint = (
            f"put it right in the file that LoadCredential={CREDENTIAL}: of the unit names (systemctl cat): the"
            " key alone, as plain text on one line; then restart the service"
        )
        raise ConfigError(error.message, hint=hint) from error


def read_credential(path: Path) -> Key | None:
    """Return the key in a credential file of systemd's; None where there is no file. Raises ConfigError.

    Its mode is not checked: systemd protects it by an ACL, which shows up as group bits.
    """
    found = _read_key_file(path)
    return None if found is None else Key(_checked(found[0], _text(path)), _text(path), is_fixed=True)


def _read_key_file(path: Path) -> tuple[bytes, str, KeyStamp] | None:
    """Return the content, who else can read it ("" for nobody), and the stamp; None where there is no file."""
    try:
        with open_file(path) as file:
            stamp = KeyStamp.of(os.fspath(path), os.fstat(file.fileno()))
            return file.read(_KEY_BYTES + 1), _exposure(path, file.fileno()), stamp
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(
            f"the API key in {_text(path)} cannot be read: {error.strerror}",
            hint="let the user that runs watcher read this file, and nobody else",
        ) from error


def _exposure(path: Path, opened: int) -> str:
    """Return who else can read the key file, and the remedy; "" where nobody can.

    Group permission on a file that is not ours is allowed: it is how its owner lets us read it.
    """
    status, us = os.fstat(opened), os.geteuid()
    mode, named = stat.S_IMODE(status.st_mode), quote_path(os.fsencode(path))
    is_ours = us in (0, status.st_uid)
    if not mode & (0o077 if is_ours else 0o027):
        return ""
    exposed = f"{_text(path)} is open to others (mode {mode:04o})"
    where = _why_fixed(path, opened)
    if where:
        return (
            f"{exposed}, and lies {where}, so its mode cannot be changed; put a copy elsewhere "
            f"(install -m 600 {named} KEYFILE, as the user that runs watcher) and name it in "
            f"identifai.api_key_file, or let systemd hand it over (LoadCredential={CREDENTIAL}:{_text(path)})"
        )
    if is_ours:
        return f"{exposed}; run: chmod 600 {named}"
    return f"{exposed}; run: sudo chown {us} {named} && sudo chmod 600 {named}"


def _why_fixed(path: Path, opened: int) -> str:
    """Return on what kind of file system the file lies, if modes cannot be changed there; else ""."""
    if os.fstatvfs(opened).f_flag & os.ST_RDONLY:
        return "on a read-only file system"
    mount = mount_of(resolve(os.fsencode(path)), read_mounts())
    return f"on a file system without modes ({mount.kind})" if mount and mount.kind in _MODELESS else ""


def _checked(content: bytes, source: str) -> str:
    text = content.strip()
    if not text:
        problem = "is empty"
    elif len(content) > _KEY_BYTES:
        problem = f"is longer than {_KEY_BYTES:,} bytes"
    elif b"\n" in text or b"\r" in text:
        problem = "has more than one line"
    elif not all(0x20 <= byte < 0x7F for byte in text):
        problem = "has characters that are not printable ASCII"
    else:
        return text.decode("ascii")
    raise ConfigError(
        f"the API key in {source} {problem}", hint=f"put the key alone into {source}, as plain text on one line"
    )


def _text(path: Path) -> str:
    return show_path(os.fsencode(path))
