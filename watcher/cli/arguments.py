"""Every command, its options and its help."""

import argparse
from collections.abc import Sequence
from math import inf
from typing import TypeAlias

from watcher import __version__
from watcher.cli.parser import Parser
from watcher.domain import SORTS, SPEND_BY, VERDICT_WORDS, ReviewWord, State

_EPILOG = """\
The configuration is --config PATH, else $WATCHER_CONFIG, else ./config.toml, else /etc/watcher/config.toml.

Try it without key, configuration or network: watcher demo
"""

_EXITS = """\
exit codes: 0 all is well; 1 done, but something failed or was left, and is named; 69 the service or the account
stands in the way, and the files wait; 75 another instance is running; 78 the configuration is wrong."""

_CHECK_EXITS = """\
exit codes: 0 nothing is wrong (there may be warnings); 1 something is wrong on this machine, and is named; 69 the
service or the account stands in the way; 78 `watcher run` would not start."""


def build_parser() -> Parser:
    """The parser of all commands, with their options and their help."""
    parser = Parser(
        prog="watcher",
        description="Submits each recording dropped into a folder once to identifAI, and files it with a receipt.",
        epilog=_EPILOG,
        groups=GROUPS,
    )
    parser.add_argument("--version", action="version", version=f"identifai-watcher {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_running(commands)
    _add_trying(commands)
    _add_upgrading(commands)
    _add_recovering(commands)
    _add_looking(commands)
    _add_reporting(commands)
    _add_hashing(commands)
    _add_telling(commands)
    _add_proving(commands)
    _add_deciding(commands)
    _add_clearing(commands)
    return parser


def join_values(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with `--sort -size` as one: alone, the value would be taken for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--sort" and argument.removeprefix("-") in SORTS:
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001 — it has no public name

GROUPS = {
    "work": ("run", "pause", "resume"),
    "look": ("status", "list", "show", "why", "where", "verdicts", "report", "spend", "nodes"),
    "decide": ("retry", "release", "fail", "dismiss", "review"),
    "prove and mend": ("check", "reconcile", "drill", "recover", "migrate", "estimate"),
    "remove": ("prune", "erase"),
    "begin": ("demo", "sandbox", "password", "notify", "completion"),
}
"""The commands as the help groups them."""


def _add(
    commands: Commands,
    name: str,
    command: str,
    summary: str,
    description: str = "",
    *,
    configured: bool = True,
    json: bool = False,
) -> Parser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}. {description}".strip(),
    )
    parser.set_defaults(command=command, called=name)
    if configured:
        parser.add_argument(
            "--config", type=_given, metavar="PATH", help="the configuration file (see `watcher --help`)"
        )
    if json:
        parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    return parser


def _add_all_sites(parser: Parser, what: str) -> None:
    parser.add_argument(
        "--all-sites",
        action="store_true",
        help=f"{what} every site of this account that the database has (in an SQLite file there is one)",
    )


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
        "trying.demo",
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
        "trying.sandbox",
        "run the local stand-in for the service",
        "It answers as the service does, charges nobody, and keeps a\nledger of what the service would have "
        "charged (GET /sandbox/ledger). Stop it with Ctrl-C.",
        configured=False,
    )
    sandbox.add_argument(
        "--port", type=int, default=8472, help="the port on 127.0.0.1 (default: %(default)s; 0: any free one)"
    )
    sandbox.add_argument("--key", default="sandbox", help="the API key it accepts (default: sandbox)")
    completion = _add(
        commands,
        "completion",
        "completing.completion",
        "print a completion script for your shell",
        'For bash: eval "$(watcher completion bash)"\nin ~/.bashrc. For zsh: watcher completion zsh > '
        "DIR/_watcher, with DIR in $fpath. For fish:\nwatcher completion fish > "
        "~/.config/fish/completions/watcher.fish",
        configured=False,
    )
    completion.add_argument("shell", choices=["bash", "zsh", "fish"])


def _add_upgrading(commands: Commands) -> None:
    migrate = _add(
        commands,
        "migrate",
        "upgrading.migrate",
        "upgrade the database to this version",
        "A copy of the old one is left beside it. The daemon does\nthis by itself at its start. "
        "While a daemon uses the database, the upgrade is refused with exit\ncode 75.",
    )
    migrate.add_argument(
        "--from",
        dest="source",
        type=_given,
        metavar="URL",
        help="copy the site from this database, such as sqlite:///watcher.db, into the one that store.url names, "
        "which must not have it yet; every row is read back and compared, and the old database stays as it is",
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


def _add_telling(commands: Commands) -> None:
    notify = _add(
        commands,
        "notify",
        "notifying.notify",
        "try the addresses in notify.urls_file",
        "Exits with 1 if one did not take the message. Addresses\nare secrets: each is named by its line.",
    )
    notify.add_argument("--test", action="store_true", required=True, help="send a test message to every address")


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
    status = _add(
        commands,
        "status",
        "state.status",
        "show whether it works, what needs a person, and how far it is",
        "Then what today and this month\nhave cost against the caps, today's verdicts, recordings by state, the "
        "rate in use, and how long the\nbacklog will take.",
        json=True,
    )
    _add_all_sites(status, "tell of")
    ways = status.add_mutually_exclusive_group()
    ways.add_argument("--watch", action="store_true", help="again every two seconds, until Ctrl-C")
    ways.add_argument(
        "--healthy",
        action="store_true",
        help="for monitoring: exit with 0 only while work succeeds; else say why not and exit with 1 (something "
        "is wrong here) or 69 (submitting is paused)",
    )
    _add_list(commands)
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
    where = _add(
        commands,
        "where",
        "locating.where",
        "say where a recording is and what came of it, for whoever dropped it",
        "It\nreads folders and receipts alone: it needs no configuration, key or database. Run it in the drop\n"
        "folder, or name the file with its path. Whoever may read done/ and failed/ gets an answer.",
    )
    where.add_argument("name", type=_given, metavar="NAME", help="the file's name, or its path in the drop folder")
    why = _add(commands, "why", "looking.why", "say in a sentence why a file is where it is and what happens next")
    why.add_argument("path", type=_given, metavar="PATH", help="a file, or a path relative to the drop folder")


def _add_list(commands: Commands) -> None:
    listing = _add(
        commands,
        "list",
        "listing.list_items",
        "list the recordings, oldest first",
        "Everything that is asked for must\nhold of each. In a pipe it prints whole values, with tabs between.",
        json=True,
    )
    _add_all_sites(listing, "list")
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
        help="in this state (may be repeated): " + ", ".join(State),
    )
    listing.add_argument(
        "--verdict",
        action="append",
        choices=VERDICT_WORDS,
        metavar="V",
        help="with this verdict (may be repeated): " + ", ".join(VERDICT_WORDS),
    )
    listing.add_argument(
        "--name",
        type=_given,
        metavar="TEXT",
        help="with this in the path: any part of it, in either case; a phone number, however it is written",
    )
    listing.add_argument("--folder", type=_given, metavar="F", help="in this subfolder of the drop folder")
    _add_period(listing, "arrived from then on")
    listing.add_argument(
        "--sort",
        metavar="KEY",
        choices=[sign + key for sign in ("", "-") for key in SORTS],
        help="by " + ", ".join(SORTS) + "; with - before it, the largest or latest first (--sort=-size)",
    )


def _add_period(parser: Parser, since: str) -> None:
    when = "a date (2026-03-01), or so long ago (7d, 24h)"
    parser.add_argument("--since", type=_given, metavar="D", help=f"{since}: {when}")
    parser.add_argument("--until", type=_given, metavar="D", help="until then; a date includes its whole day")


def _add_reporting(commands: Commands) -> None:
    report = _add(
        commands,
        "report",
        "reporting.report",
        "write what was submitted and what came back, for people, spreadsheets or programs",
        "One row\nfor each recording that arrived in the period, in the days of limits.timezone. An HTML file "
        "needs\nnothing but itself. It has at most 2,000 rows: artificial, failed and held ones come first.",
    )
    _add_period(report, "from then on, instead of all there is")
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

    _add_all_sites(report, "tell of")

    spend = _add(
        commands,
        "spend",
        "spending.spend",
        "show what was charged, against the caps",
        "What may have been charged counts,\nas it does for the caps. Days are those of limits.timezone.",
    )
    _add_period(spend, "from then on, instead of from the beginning of this month")
    spend.add_argument(
        "--by",
        choices=SPEND_BY,
        default=SPEND_BY[0],
        help="by day (default), by the first subfolder, or by the user whose file it was",
    )

    _add(
        commands,
        "nodes",
        "sharing.nodes",
        "show which nodes work on which sites, since when, and until when their leases last",
        "On\nSQLite there is one node; where store.url is a PostgreSQL server's, one works on each site, and the "
        "others\nstand by. A lease that is not renewed is over at its end, and another node takes it.",
        json=True,
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
    drill = _add(
        commands,
        "drill",
        "drilling.drill",
        "kill the program again and again on your own folders and disks, and prove that nothing is lost",
        "It works in hidden folders inside drop/, done/ and failed/ and beside the database, against the sandbox: "
        "it needs no key, pays nothing, touches nothing of yours, and removes what it made, also after Ctrl-C. A "
        "daemon may run meanwhile. It says what was proven, on which file systems, and what these cannot promise. "
        "Root drills with the rights of the daemon's user.\n\n"
        "exit codes: 0 proven; 1 a promise is broken, and the evidence is kept, or the drill could not be carried "
        "out; 75 another drill is running here; 78 the configuration is wrong.",
    )
    drill.add_argument(
        "--kills",
        type=int,
        metavar="N",
        default=20,
        help="how often to kill it (default: %(default)s, which takes under a minute)",
    )
    drill.add_argument(
        "--seed", type=int, metavar="S", help="the recordings and moments of the drill that named it"
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
    _add_all_sites(pause, "pause")
    resume = _add(
        commands,
        "resume",
        "deciding.resume",
        "submit again",
        "Ends a person's pause. If the account or the service is the reason, one\nrecording is tried at once.",
    )
    _add_all_sites(resume, "resume")


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
