"""The command line: every command, its options and its help. Data goes to stdout, everything else to stderr."""

import argparse
import codecs
import errno
import gc
import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from math import inf
from typing import TypeAlias

from watcher import __version__
from watcher.cli.printing import as_far_as_read, flush, silence
from watcher.domain import ReviewWord, State
from watcher.errors import Exit, WatcherError
from watcher.outlet import say
from watcher.text import text_to_path

_EPILOG = """\
The configuration is --config PATH, else $WATCHER_CONFIG, else ./config.toml, else /etc/watcher/config.toml.
Try it without key, configuration or network: watcher demo
"""

_EXITS = """\
exit codes: 0 all is well; 1 done, but something failed or was left, and is named; 69 the service or the account
stands in the way, and the files wait; 75 another instance is running; 78 the configuration is wrong."""

_AS_BYTES = "watcher.as_bytes"

_NOT_WRITTEN = (errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT)

_CHECK_EXITS = """\
exit codes: 0 nothing is wrong (there may be warnings); 1 something is wrong on this machine, and is named; 69 the
service or the account stands in the way; 78 `watcher run` would not start."""


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
        return build_parser().parse_args(arguments)
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
        gc.enable()
    return found


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands, with their options and their help."""
    parser = argparse.ArgumentParser(
        prog="watcher",
        description="Submits each recording dropped into a folder once to identifAI, and files it with a receipt.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"identifai-watcher {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_running(commands)
    _add_trying(commands)
    _add_upgrading(commands)
    _add_recovering(commands)
    _add_looking(commands)
    _add_reporting(commands)
    _add_hashing(commands)
    _add_proving(commands)
    _add_deciding(commands)
    _add_clearing(commands)
    return parser


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 — it has no public name


def _add(
    commands: Commands,
    name: str,
    command: str,
    summary: str,
    description: str = "",
    *,
    configured: bool = True,
    json: bool = False,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}. {description}".strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=command)
    if configured:
        parser.add_argument(
            "--config", type=_given, metavar="PATH", help="the configuration file (see `watcher --help`)"
        )
    if json:
        parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    return parser


def _add_running(commands: Commands) -> None:
    run = _add(
        commands,
        "run",
        "running.run",
        "watch the drop folder and submit what arrives, in the foreground",
        "Stop it with Ctrl-C or\nSIGTERM: an upload in flight is finished, or given up unpaid.\n\n" + _EXITS,
    )
    run.add_argument("--once", action="store_true", help="submit and file what is there now, then exit (for cron)")
    run.add_argument(
        "--verdicts", action="store_true", help="with --once: also wait for the verdicts on what is accepted"
    )
    run.add_argument(
        "--verdicts-for",
        type=_seconds,
        metavar="SECONDS",
        help="the same, for at most this long once all else is done (default: 600); missing ones are then named",
    )


def _add_trying(commands: Commands) -> None:
    demo = _add(
        commands,
        "demo",
        "running.demo",
        "see it work: no key, no configuration, no network",
        "Starts the sandbox at the service's own\nlimits, drops recordings that will be accepted or refused, runs "
        "the real pipeline, and prints what\nbecame of each. Takes under a minute. Exits with 0 if each ended as "
        "it should.",
        configured=False,
    )
    demo.add_argument(
        "--dir",
        type=_given,
        metavar="DIR",
        help="an empty or new folder for the demo's files, which stay there (default: a new temporary folder)",
    )
    sandbox = _add(
        commands,
        "sandbox",
        "running.sandbox",
        "run the local stand-in for the service",
        "It answers as the service does, charges nobody, and keeps a\nledger of what the service would have "
        "charged (GET /sandbox/ledger). Stop it with Ctrl-C.",
        configured=False,
    )
    sandbox.add_argument(
        "--port", type=int, default=8472, help="the port on 127.0.0.1 (default: %(default)s; 0: any free one)"
    )
    sandbox.add_argument("--key", default="sandbox", help="the API key it accepts (default: sandbox)")


def _add_upgrading(commands: Commands) -> None:
    _add(
        commands,
        "migrate",
        "running.migrate",
        "upgrade the database to this version",
        "A copy of the old one is left beside it. The daemon does\nthis by itself at its start. "
        "While a daemon uses the database, the upgrade is refused with exit\ncode 75.",
    )


def _add_hashing(commands: Commands) -> None:
    _add(
        commands,
        "password",
        "hashing.password",
        "make the hash that web.password_file holds",
        "Asks for a password twice, or reads one line from standard\ninput, and prints its hash: "
        "(umask 077; watcher password > web.password).",
        configured=False,
    )


def _add_recovering(commands: Commands) -> None:
    recover = _add(
        commands,
        "recover",
        "recovering.recover",
        "rebuild a lost database from the receipts",
        "Reads done/, failed/ and the spool, and adds to the\ndatabase what it does not know: recordings, parts, "
        "identifiers, verdicts, requests. So nothing that any\nreceipt knows is paid for again. It also completes "
        "an older copy that was restored, and may be repeated.\nA receipt counts if its file belongs to the "
        "service's user and the recording beside it has its size;\nothers are named and left as they are. What "
        "waits in drop/ without a trace may have been sent: it is in\ndoubt, as identifai.in_doubt says.\n\n"
        "exit codes: 0 all is well; 1 done, but something was left or will be held, and is named; 75 a daemon is\n"
        "running; 78 the configuration is wrong, a folder is not there, or the database is damaged.",
    )
    recover.add_argument("--dry-run", action="store_true", help="only say what would be added; change nothing")
    recover.add_argument(
        "--trust-owner",
        type=_given,
        action="append",
        metavar="USER",
        help="receipts of this user (name or number) count as well (may be repeated)",
    )
    recover.add_argument(
        "--verify", action="store_true", help="also read the recordings and compare their hashes with the receipts"
    )


def _seconds(said: str) -> float:
    """Parse a number of seconds. Raises ValueError, from which argparse makes its message."""
    seconds = float(said)
    if not 0 <= seconds < inf:
        raise ValueError
    return seconds


_seconds.__name__ = "number of seconds"  # argparse says "invalid … value"


def _given(said: str) -> str:
    """The text of an argument. Raises ArgumentTypeError if it is empty, as a variable that is not set would be."""
    if not said:
        raise argparse.ArgumentTypeError("it is empty; is a variable not set?")
    return said


def _add_looking(commands: Commands) -> None:
    check = _add(
        commands,
        "check",
        "checking.check",
        "look for everything that could go wrong on this machine, before it does",
        "Tests the folders, key, database,\nlimits and the service with the rights of whoever runs it; for root, "
        "with the rights and the key of the\ndaemon's user. It leaves nothing behind and spends no credit. Run it "
        "before the first start, or beside\nthe daemon.\n\n" + _CHECK_EXITS,
        json=True,
    )
    check.add_argument(
        "--as",
        type=_given,
        dest="as_user",
        metavar="USER",
        help="root only: with this user's rights (default: the daemon's, known from its process, unit or files)",
    )
    _add(
        commands,
        "status",
        "state.status",
        "show the state of the site",
        "Recordings by state, pauses with their reasons, the rate in use, how long the\nbacklog will take, "
        "and when the drop folder was last scanned.",
        json=True,
    )
    listing = _add(commands, "list", "listing.list_items", "list the recordings, oldest first", json=True)
    kinds = listing.add_mutually_exclusive_group()
    kinds.add_argument(
        "--waiting",
        action="store_true",
        help="the files in the drop folder that are not taken yet, and why; those that need a person come first",
    )
    kinds.add_argument(
        "--state",
        action="append",
        choices=[str(state) for state in State],
        metavar="STATE",
        help="only recordings in this state (may be repeated): " + ", ".join(State),
    )
    show = _add(commands, "show", "looking.show", "show one recording's whole history", json=True)
    show.add_argument(
        "item", type=_given, metavar="ITEM", help="its id, the first 6 characters of it or more, or its path"
    )
    verdicts = _add(
        commands,
        "verdicts",
        "judging.verdicts",
        "show the verdicts and what they rest on",
        "With --json also the service's whole result,\n"
        "segments included. --refresh needs the key, and costs no credit.",
        json=True,
    )
    verdicts.add_argument(
        "items", type=_given, nargs="*", metavar="ITEM", help="a recording as for `show` (default: all)"
    )
    verdicts.add_argument(
        "--refresh",
        action="store_true",
        help="ask the service again first, within limits.reads; what has changed is logged, and receipts follow",
    )
    why = _add(commands, "why", "looking.why", "say in a sentence why a file is where it is and what happens next")
    why.add_argument("path", type=_given, metavar="PATH", help="a file, or a path relative to the drop folder")


def _add_reporting(commands: Commands) -> None:
    report = _add(
        commands,
        "report",
        "reporting.report",
        "write what was submitted and what came back, for people, spreadsheets or programs",
        "One row\nfor each recording that arrived in the period, in the days of limits.timezone. An HTML file "
        "needs\nnothing but itself. It has at most 2,000 rows: artificial, failed and held ones come first.",
    )
    when = "a date (2026-03-01), or so long ago (7d, 24h)"
    report.add_argument("--since", type=_given, metavar="D", help=f"from then on: {when}; default: all there is")
    report.add_argument("--until", type=_given, metavar="D", help="until then; a date includes its whole day")
    report.add_argument(
        "--format",
        choices=["html", "csv", "json"],
        help="csv: for spreadsheets; json: an object a line, as `list --json` has it; html: one page with charts "
        "(default: what the name of the output ends in, else csv)",
    )
    report.add_argument(
        "--output", type=_given, metavar="PATH", help="a file, which is replaced as a whole (default: stdout)"
    )
    report.add_argument(
        "--separator",
        type=_given,
        metavar="C",
        default=",",
        help='between the columns of CSV: one character, or "tab" (default: ","; many spreadsheets expect ";")',
    )


def _add_proving(commands: Commands) -> None:
    estimate = _add(
        commands,
        "estimate",
        "proving.estimate",
        "say what submitting a folder would cost",
        "Counts recordings, minutes of audio, bytes and\nsubmissions, and says how long they would take. Sends "
        "nothing.",
        json=True,
    )
    estimate.add_argument("path", type=_given, metavar="PATH", help="a folder, anywhere")
    reconcile = _add(
        commands,
        "reconcile",
        "proving.reconcile",
        "prove the books",
        "Seen = done + failed + withdrawn + waiting + in flight + held, and folders, receipts,\n"
        "items, their histories and the ledger agree. If they do not, it says where and exits with 1. Files\n"
        "that others put into the folders are noted and are no error.",
    )
    reconcile.add_argument(
        "--hashes",
        action="store_true",
        help="also read every filed recording and compare its sha256 with the database and its receipt",
    )


def _add_deciding(commands: Commands) -> None:
    items = "its id, the first 6 characters of it or more, or its path"
    retry = _add(
        commands,
        "retry",
        "deciding.retry",
        "send failed recordings again",
        "Records the decision; the daemon, or the next run, moves the file\nback into the drop folder. Its "
        "history is kept.",
    )
    retry.add_argument("items", type=_given, nargs="*", metavar="ITEM", help=items)
    retry.add_argument("--failed", action="store_true", help="all failed recordings that were not dismissed")
    retry.add_argument(
        "--fresh", action="store_true", help="have it analysed anew (no_cache), which may cost again"
    )
    release = _add(
        commands,
        "release",
        "deciding.release",
        "send held recordings again",
        "They may have been paid for already.",
    )
    fail = _add(commands, "fail", "deciding.fail", "give up held recordings: they are filed in failed/")
    for decision in (release, fail):
        decision.add_argument("items", type=_given, nargs="*", metavar="ITEM", help=items)
        decision.add_argument("--all", action="store_true", help="all held recordings")
    dismiss = _add(
        commands,
        "dismiss",
        "deciding.dismiss",
        "mark failed recordings as dealt with",
        "They stay in failed/, and no longer count as needing a\nperson. `retry` undoes it.",
    )
    dismiss.add_argument("items", type=_given, nargs="+", metavar="ITEM", help=items)
    review = _add(
        commands,
        "review",
        "judging.review",
        "record what a person says a recording is, beside the service's verdict",
        "Both stand in the\nreceipt. A later word replaces an earlier one, which stays in the history.",
    )
    review.add_argument("item", type=_given, metavar="ITEM", help=items)
    words = review.add_mutually_exclusive_group(required=True)
    for word, told in (
        (ReviewWord.HUMAN, "it is a person's voice"),
        (ReviewWord.ARTIFICIAL, "it is not"),
        (ReviewWord.UNCLEAR, "nobody can tell"),
    ):
        words.add_argument(f"--{word}", dest="word", action="store_const", const=str(word), help=told)
    review.add_argument("--note", metavar="TEXT", default="", help="why, in a sentence")
    pause = _add(
        commands,
        "pause",
        "deciding.pause",
        "stop submitting",
        "Everything else goes on: taking files, filing, verdicts.",
    )
    pause.add_argument("--reason", metavar="TEXT", default="", help="why, shown by `status` and `why`")
    _add(
        commands,
        "resume",
        "deciding.resume",
        "submit again",
        "Ends a person's pause. If the account or the service is the reason, one\nrecording is tried at once.",
    )


def _add_clearing(commands: Commands) -> None:
    prune = _add(
        commands,
        "prune",
        "clearing.prune",
        "remove what was kept long enough",
        "Removes the recordings, receipts and rows whose time\nis over ([retention]). The daemon does this by "
        "itself. A tombstone stays, so that nothing is paid for\nagain. What was altered after it was filed stays "
        "and is named (exit code 1).",
    )
    prune.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    erase = _add(
        commands,
        "erase",
        "clearing.erase",
        "erase recordings everywhere, for good",
        "Removes the recording, its receipt, its companions and its\nrows, and says what it cannot reach. Only a "
        "tombstone stays, which names nobody: dropped again, it is\nnot paid for again. Only for what is done, "
        "failed or withdrawn. If a daemon is running, it does it.",
    )
    erase.add_argument(
        "items",
        type=_given,
        nargs="+",
        metavar="ITEM",
        help="its id, the first 6 characters of it or more, or its path",
    )
    erase.add_argument("--all-copies", action="store_true", help="also every other recording with the same bytes")
    erase.add_argument("--dry-run", action="store_true", help="only say what would be erased, and what stays")
