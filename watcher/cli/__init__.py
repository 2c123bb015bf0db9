"""The command line: from what was typed to an exit code. Data goes to stdout, everything else to stderr."""

import argparse
import codecs
import errno
import gc
import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from watcher.cli.arguments import build_parser, join_values
from watcher.cli.printing import as_far_as_read, flush, silence
from watcher.errors import Exit, WatcherError
from watcher.outlet import say
from watcher.text import text_to_path

_AS_BYTES = "watcher.as_bytes"

_NOT_WRITTEN = (errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code. Every error is one message that says what to do."""
    _open_closed_streams()
    _escape_unprintable()
    _leave_removed_folder()
    code: int = Exit.WELL
    try:
        options = _parse(arguments)
        code = _find(options.command)(options)
        flush()
    except WatcherError as error:
        say(f"watcher: {error.message}")
        if error.hint:
            say(f"         {error.hint}")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        silence()  # the reader has gone, as in `watcher list | head`
    except OSError as error:
        if error.errno not in _NOT_WRITTEN or error.filename is not None:  # not of the output, so unexpected
            raise
        silence()
        say(f"watcher: the output could not be written: {error.strerror}")
        return Exit.INCOMPLETE
    return code


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The parsed arguments. Raises SystemExit after printing the help or what is wrong."""
    try:
        return build_parser().parse_args(join_values(sys.argv[1:] if arguments is None else arguments))
    except SystemExit:
        with as_far_as_read():
            pass  # the help may be cut short by its reader, too
        raise


def _open_closed_streams() -> None:
    """Open /dev/null as each of stdin, stdout and stderr that the program was started without.

    Otherwise a file of ours, such as the database, would get that descriptor, and messages would go into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115


def _leave_removed_folder() -> None:
    """Change to / if the working directory was removed: no path can be made absolute there."""
    try:
        os.getcwdb()
    except OSError as error:
        os.chdir("/")
        say(f"watcher: the current folder no longer exists ({error.strerror}): continuing in /")


def _escape_unprintable() -> None:
    r"""Write each byte that stdout and stderr have no character for as `\xNN`, as `list` prints paths.

    Otherwise a name with an umlaut would end a command in the C locale, and one that is not UTF-8 in every locale.
    """
    codecs.register_error(_AS_BYTES, _as_bytes)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_AS_BYTES)


def _as_bytes(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    there = error.object[error.start : error.end]
    try:
        escaped = text_to_path(there)
    except UnicodeEncodeError:  # half of a surrogate pair, which only JSON can contain
        escaped = there.encode("utf-8", "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in escaped), error.end


def _find(command: str) -> Callable[[argparse.Namespace], int]:
    """The function of this command. Its module is imported only now, since many import half of the program."""
    module, _, name = command.partition(".")
    gc.disable()  # nothing of what is made now is garbage, and looking for it takes a tenth of a short command
    try:
        found: Callable[[argparse.Namespace], int] = getattr(import_module(f"watcher.cli.{module}"), name)
    finally:
        gc.freeze()  # nor will any of it ever be
        gc.enable()
    return found
