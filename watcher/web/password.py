"""The password that the page asks for: only its hash is kept, in a file."""

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from watcher.config.loading import open_file
from watcher.errors import ConfigError
from watcher.text import quote_path, show_path

MAKE = "watcher password"
"""The command that prints a hash."""

_KIND = "scrypt"
_COST, _BLOCK, _LANES = 2**15, 8, 1  # 32 MiB and some 0.1 s for each guess
_MOST_WORK = 256 * 2**20  # bytes that one guess goes through, and may take
_FILE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """The hash of one password, with what it was made with. It shows itself to nobody."""

    cost: int
    block: int
    lanes: int
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    @classmethod
    def of(cls, password: str) -> "PasswordHash":
        """Return a new hash of this password."""
        salt = secrets.token_bytes(16)
        return cls(_COST, _BLOCK, _LANES, salt, _digest(password, _COST, _BLOCK, _LANES, salt))

    @classmethod
    def parse(cls, line: str) -> "PasswordHash":
        """Parse what `str` of a hash gives. Raises ValueError for anything else."""
        kind, *numbers, salt, digest = line.split("$")
        if kind != _KIND or len(numbers) != 3:
            raise ValueError("not a hash of ours")
        cost, block, lanes = map(int, numbers)
        if cost < 2 or cost & (cost - 1) or block < 1 or not 0 < 128 * cost * block * lanes <= _MOST_WORK:
            raise ValueError("not a hash of ours")
        made = cls(cost, block, lanes, _decoded(salt), _decoded(digest))
        if not made.salt or not made.digest:
            raise ValueError("not a hash of ours")
        return made

    def __str__(self) -> str:
        salt, digest = (base64.b64encode(one).decode() for one in (self.salt, self.digest))
        return f"{_KIND}${self.cost}${self.block}${self.lanes}${salt}${digest}"

    def fits(self, password: str) -> bool:
        """Return whether this is the password. It takes its time, so that guessing does."""
        made = _digest(password, self.cost, self.block, self.lanes, self.salt, len(self.digest))
        return hmac.compare_digest(made, self.digest)


def _digest(password: str, cost: int, block: int, lanes: int, salt: bytes, length: int = 32) -> bytes:
    text = password.encode("utf-8", "surrogateescape")
    return hashlib.scrypt(text, salt=salt, n=cost, r=block, p=lanes, maxmem=2 * _MOST_WORK, dklen=length)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not a hash of ours") from error


def read_password(path: Path) -> tuple[PasswordHash, str]:
    """Return the hash in this file, and what is unsafe about the file, with the remedy ("": nothing).

    Raises ConfigError where the file cannot be read or holds anything else, such as a password in clear text. The
    error never repeats what was found.
    """
    shown = show_path(os.fsencode(path))
    remedy = f"write the hash into it: (umask 077; {MAKE} > {quote_path(os.fsencode(path))})"
    try:
        with open_file(path) as file:
            content, status = file.read(_FILE_BYTES + 1), os.fstat(file.fileno())
    except FileNotFoundError as error:
        raise ConfigError(f"web.password_file: {shown} does not exist", hint=remedy) from error
    except OSError as error:
        raise ConfigError(
            f"web.password_file: {shown} cannot be read: {error.strerror}",
            hint="let the user that runs watcher read this file, and nobody else",
        ) from error
    try:
        found = PasswordHash.parse(content.decode("ascii").strip())
    except ValueError:
        found = None
    if found is None:
        raise ConfigError(f"web.password_file: {shown} does not hold the hash of a password", hint=remedy)
    return found, _exposure(path, status)


def _exposure(path: Path, status: os.stat_result) -> str:
    """Say who else can read or replace the file. A group may read one that is not ours: so its owner lets us."""
    mode = stat.S_IMODE(status.st_mode)
    is_ours = os.geteuid() in (0, status.st_uid)
    if not mode & (0o077 if is_ours else 0o027):
        return ""
    named = quote_path(os.fsencode(path))
    return f"{show_path(os.fsencode(path))} is open to others (mode {mode:04o}); run: chmod 600 {named}"
