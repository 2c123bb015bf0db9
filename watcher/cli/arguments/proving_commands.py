"""The commands that prove and mend: check, migrate, recover, estimate, reconcile, drill."""

from watcher.cli.arguments.command_parser import Commands, add_command, given

_CHECK_EXITS = """\
exit codes: 0 nothing is wrong (there may be warnings); 1 something is wrong on this machine, and is named; 69 the
service or the account stands in the way; 78 `watcher run` would not start."""


def add_upgrading(commands: Commands) -> None:
    migrate = add_command(
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
        type=given,
        metavar="URL",
        help="copy the site from this database, such as sqlite:///watcher.db, into the one that store.url names, "
        "which must not have it yet; every row is read back and compared, and the old database stays as it is",
    )


def add_recovering(commands: Commands) -> None:
    recover = add_command(
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
        type=given,
        action="append",
        metavar="USER",
        help="receipts of this user (name or number) count as well (may be repeated)",
    )
    recover.add_argument(
        "--verify", action="store_true", help="also read the recordings and compare their hashes with the receipts"
    )


def add_checking(commands: Commands) -> None:
    check = add_command(
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
        type=given,
        dest="as_user",
        metavar="USER",
        help="root only: with this user's rights (default: the daemon's, known from its process, unit or files)",
    )


def add_proving(commands: Commands) -> None:
    estimate = add_command(
        commands,
        "estimate",
        "proving.estimate",
        "say what submitting a folder would cost",
        "Counts recordings, minutes of audio, bytes and\nsubmissions, and says how long they would take. Sends "
        "nothing.",
        json=True,
    )
    estimate.add_argument("path", type=given, metavar="PATH", help="a folder, anywhere")
    reconcile = add_command(
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
    drill = add_command(
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
