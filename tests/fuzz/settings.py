"""What whoever runs the program writes: the configuration, the files that it names, the words of a command."""

import contextlib
import fnmatch
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.fuzz.target import Check, Target, is_safe, plain
from tests.people import PROJECT
from watcher.cli import _parse
from watcher.config import load
from watcher.errors import ConfigError
from watcher.ignore import BUILT_IN, Ignore
from watcher.key import KEY_VARIABLE, read_handed, read_key
from watcher.notify.addresses import read_addresses
from watcher.web.password import PasswordHash, read_password

_TOML_WORDS = (
    *(b"[folders]\n", b"[limits]\n", b"[[audio.raw]]\n", b'drop = "', b"true", b"1e308", b"-1", b"nan", b"inf"),
    *(
        b"9" * 400,
        b'"""',
        b"'''",
        b"{",
        b"[" * 40,
        b"\\u001b",
        b"\\ud800",
        b"\x1b[31m",
        b"\xff",
        b"\0",
        b"a.b.c = 1\n",
    ),
    *(b"1979-05-27", b"= 1\n", b' "../.." ', b"sqlite:///", b"postgresql+psycopg://u:secret@h/d?x=y", b"\r"),
)
_COMMANDS = (
    *("run", "run --once --verdicts --verdicts-for 5", "status --json", "status --healthy", "status --watch"),
    *("list --state done --since 7d --until 2026-11-25", "list --sort -size --name x", "show abc123 --json"),
    *("why drop/a.wav", "where a.wav", "spend --by day --since 24h", "report --format csv --separator ;"),
    *(
        "retry --failed",
        "release --all",
        "review abc123 --human --note x",
        "verdicts --refresh",
        "check --as root",
    ),
    *("recover --dry-run --trust-owner 0", "migrate --from sqlite:///a.db", "erase abc --all-copies --dry-run"),
    *(
        "pause --reason x",
        "completion bash",
        "sandbox --port 0",
        "estimate . --json",
        "--help",
        "--version",
        "lst",
    ),
)
_HASH = b"scrypt$16$8$1$" + b"AAAAAAAAAAAAAAAAAAAAAA==$" + b"A" * 43 + b"="


# The configuration


@contextmanager
def _configured() -> Iterator[Check]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield partial(_load, Path(name, "config.toml"))


def _load(path: Path, data: bytes) -> None:
    """It is loaded, twice the same; or every problem is one line that a terminal can show."""
    path.write_bytes(data)
    try:
        config = load(path)
    except ConfigError as error:
        assert error.message
        assert is_safe(error.message, "\n")
        assert is_safe(error.hint, "\n")
        return
    assert load(path) == config
    assert Ignore(config.arrivals.ignore).matching(b"call.wav") in (None, *config.arrivals.ignore)


def _configurations() -> list[bytes]:
    example = (PROJECT / "config.example.toml").read_bytes()
    bare = b"\n".join(line for line in example.splitlines() if line and not line.startswith(b"#"))
    folders = b'[folders]\ndrop = "drop"\ndone = "done"\nfailed = "failed"\n'
    raw = b'[[audio.raw]]\nnames = "*.ulaw"\ncodec = "mulaw"\nrate = 8000\nchannels = 1\n'
    return [example, bare, folders, folders + raw, b"", *(b"[" + part for part in bare.split(b"\n[")[1:])]


# Secrets in files and in the environment


@contextmanager
def _locked() -> Iterator[Check]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        (Path(name) / "config.toml").write_text('[identifai]\napi_key_file = "secret"\n')
        yield partial(_read_secrets, Path(name))


def _read_secrets(folder: Path, data: bytes) -> None:
    """A key, a password's hash or addresses, or one error that repeats nothing of what it found."""
    path, config = folder / "secret", load(folder / "config.toml")
    path.write_bytes(data)
    path.chmod(0o600)
    text = os.fsdecode(data.replace(b"\0", b""))
    said: list[str] = []
    readers: tuple[Callable[[], str], ...] = (
        lambda: repr(read_key(config, {})),
        lambda: repr(read_handed({KEY_VARIABLE: text})),
        lambda: repr(read_addresses(path)),
        lambda: repr(_password(path)),
    )
    for read in readers:
        try:
            said.append(read())
        except ConfigError as error:
            said += [error.message, error.hint]
    assert all(is_safe(one) for one in said)
    for line in data.decode("utf-8", "replace").split():
        if len(line) >= 12:
            assert not any(line in one for one in said)


def _password(path: Path) -> PasswordHash:
    """What is taken for a hash can be tried, in bounded time and memory, and is written as it was."""
    found, _ = read_password(path)
    assert PasswordHash.parse(str(found)) == found
    assert found.fits("a password") in (True, False)
    return found


def _secrets() -> list[bytes]:
    return [
        b"k3y-Zx81-0aBcDeFgHiJ-4q\n",
        _HASH + b"\n",
        b"# who is told\njson://user:pass-word-9@127.0.0.1:1/path\nmailto://u:secret-word@example.org\n",
        b"slack://TokenAAAA/TokenBBBB/TokenCCCCCCCC/#general\n",
    ]


# Names and words


def _ignore(data: bytes) -> None:
    """Patterns in the first lines, names in the others: Python's own fnmatch agrees, in linear time."""
    lines = data.replace(b"\0", b"").split(b"\n")
    half = min(len(lines) // 2, 50)
    patterns = [line.decode("utf-8", "surrogateescape")[:255] for line in lines[:half] if line]
    ignore = Ignore(patterns)
    for name in lines[half : half + 500]:
        found = ignore.matching(name[:4096])
        added = [p for p in patterns if any(_covers(p, part) for part in name[:4096].split(b"/"))]
        assert found is not None or not added
        assert found is None or found in patterns or ignore.source(found) is not None


def _covers(pattern: str, part: bytes) -> bool:
    return fnmatch.fnmatchcase(part.decode("utf-8", "surrogateescape"), pattern)


def _names() -> list[bytes]:
    patterns = "\n".join(p for _, *some in BUILT_IN[:8] for p in some).encode()
    names = b"call.wav\nCALL.WAV.PART\n.hidden/call.wav\na~b.wav\ncaf\xe9.wav\n#recycle/x.wav\nx.wav.0aF31b2C"
    return [b"*.draft\n_*\n[ab]*.wav\n" + names, patterns + b"\n" + names, b"*a*a*a*a*b\n\n" + b"a" * 200]


def _type(data: bytes) -> None:
    """It is understood, or one message says what is wrong, which no terminal obeys."""
    words = [os.fsdecode(word) for word in data.split(b"\0")][:50]
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            assert _parse(words).command
        except SystemExit as ended:
            assert ended.code in (0, 2)
    assert is_safe(said.getvalue(), "\n")
    assert is_safe(errors.getvalue(), "\n")


def _typed() -> list[bytes]:
    return [line.replace(" ", "\0").encode() for line in _COMMANDS]


TARGETS = (
    Target("configuration", _configured, _configurations, words=_TOML_WORDS, most_bytes=200_000),
    Target(
        "secrets",
        _locked,
        _secrets,
        words=(b"$", b"://", b"\n", b"9" * 30, b"\x1b[31m"),
        seconds=3.0,
        memory_bytes=512 << 20,
    ),
    plain(
        "ignore",
        _ignore,
        _names,
        words=(b"*", b"?", b"[!", b"]", b"**", b"~", b".", b"/", b"\n"),
        most_bytes=100_000,
    ),
    plain(
        "arguments", _type, _typed, words=(b"\0--", b"\0-", b"\0", b"=", b"\x1b[31m", b"\xff"), most_bytes=100_000
    ),
)
