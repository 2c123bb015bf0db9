"""The commands that look: status, list, show, verdicts, where, why, report, spend, nodes."""

from watcher.cli.arguments.command_parser import Commands, add_all_sites, add_command, given
from watcher.cli.parser import Parser
from watcher.domain import SORTS, SPEND_BY, VERDICT_WORDS, State


def add_looking(commands: Commands) -> None:
    status = add_command(
        commands,
        "status",
        "state.status",
        "show whether it works, what needs a person, and how far it is",
        "Then what today and this month\nhave cost against the caps, today's verdicts, recordings by state, the "
        "rate in use, and how long the\nbacklog will take.",
        json=True,
    )
    add_all_sites(status, "tell of")
    ways = status.add_mutually_exclusive_group()
    ways.add_argument("--watch", action="store_true", help="again every two seconds, until Ctrl-C")
    ways.add_argument(
        "--healthy",
        action="store_true",
        help="for monitoring: exit with 0 only while work succeeds; else say why not and exit with 1 (something "
        "is wrong here) or 69 (submitting is paused)",
    )
    _add_list(commands)
    show = add_command(commands, "show", "looking.show", "show one recording's whole history", json=True)
    show.add_argument(
        "item", type=given, metavar="ITEM", help="its id, the first 6 characters of it or more, or its path"
    )
    verdicts = add_command(
        commands,
        "verdicts",
        "judging.verdicts",
        "show the verdicts and what they rest on",
        "With --json also the service's whole result,\n"
        "segments included. --refresh needs the key, and costs no credit.",
        json=True,
    )
    verdicts.add_argument(
        "items", type=given, nargs="*", metavar="ITEM", help="a recording as for `show` (default: all)"
    )
    verdicts.add_argument(
        "--refresh",
        action="store_true",
        help="ask the service again first, within limits.reads; what has changed is logged, and receipts follow",
    )
    where = add_command(
        commands,
        "where",
        "locating.where",
        "say where a recording is and what came of it, for whoever dropped it",
        "It\nreads folders and receipts alone: it needs no configuration, key or database. Run it in the drop\n"
        "folder, or name the file with its path. Whoever may read done/ and failed/ gets an answer.",
    )
    where.add_argument("name", type=given, metavar="NAME", help="the file's name, or its path in the drop folder")
    why = add_command(
        commands, "why", "looking.why", "say in a sentence why a file is where it is and what happens next"
    )
    why.add_argument("path", type=given, metavar="PATH", help="a file, or a path relative to the drop folder")


def _add_list(commands: Commands) -> None:
    listing = add_command(
        commands,
        "list",
        "listing.list_items",
        "list the recordings, oldest first",
        "Everything that is asked for must\nhold of each. In a pipe it prints whole values, with tabs between.",
        json=True,
    )
    add_all_sites(listing, "list")
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
        type=given,
        metavar="TEXT",
        help="with this in the path: any part of it, in either case; a phone number, however it is written",
    )
    listing.add_argument("--folder", type=given, metavar="F", help="in this subfolder of the drop folder")
    _add_period(listing, "arrived from then on")
    listing.add_argument(
        "--sort",
        metavar="KEY",
        choices=[sign + key for sign in ("", "-") for key in SORTS],
        help="by " + ", ".join(SORTS) + "; with - before it, the largest or latest first (--sort=-size)",
    )


def add_reporting(commands: Commands) -> None:
    report = add_command(
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
        "--output", type=given, metavar="PATH", help="a file, which is replaced as a whole (default: stdout)"
    )
    report.add_argument(
        "--separator",
        type=given,
        metavar="C",
        default=",",
        help='between the columns of CSV: one character, or "tab" (default: ","; many spreadsheets expect ";")',
    )

    add_all_sites(report, "tell of")

    spend = add_command(
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

    add_command(
        commands,
        "nodes",
        "sharing.nodes",
        "show which nodes work on which sites, since when, and until when their leases last",
        "On\nSQLite there is one node; where store.url is a PostgreSQL server's, one works on each site, and the "
        "others\nstand by. A lease that is not renewed is over at its end, and another node takes it.",
        json=True,
    )


def _add_period(parser: Parser, since: str) -> None:
    when = "a date (2026-03-01), or so long ago (7d, 24h)"
    parser.add_argument("--since", type=given, metavar="D", help=f"{since}: {when}")
    parser.add_argument("--until", type=given, metavar="D", help="until then; a date includes its whole day")
