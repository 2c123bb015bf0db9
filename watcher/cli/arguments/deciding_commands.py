"""The commands that decide: retry, release, fail, dismiss, review, pause, resume; and remove: prune, erase."""

from watcher.cli.arguments.command_parser import Commands, add_all_sites, add_command, given
from watcher.domain import ReviewWord


def add_deciding(commands: Commands) -> None:
    items = "its id, the first 6 characters of it or more, or its path"
    retry = add_command(
        commands,
        "retry",
        "deciding.retry",
        "send failed recordings again",
        "Records the decision; the daemon, or the next run, moves the file\nback into the drop folder. Its "
        "history is kept.",
    )
    retry.add_argument("items", type=given, nargs="*", metavar="ITEM", help=items)
    retry.add_argument("--failed", action="store_true", help="all failed recordings that were not dismissed")
    retry.add_argument(
        "--fresh", action="store_true", help="have it analysed anew (no_cache), which may cost again"
    )
    release = add_command(
        commands,
        "release",
        "deciding.release",
        "send held recordings again",
        "They may have been paid for already.",
    )
    fail = add_command(commands, "fail", "deciding.fail", "give up held recordings: they are filed in failed/")
    for decision in (release, fail):
        decision.add_argument("items", type=given, nargs="*", metavar="ITEM", help=items)
        decision.add_argument("--all", action="store_true", help="all held recordings")
    dismiss = add_command(
        commands,
        "dismiss",
        "deciding.dismiss",
        "mark failed recordings as dealt with",
        "They stay in failed/, and no longer count as needing a\nperson. `retry` undoes it.",
    )
    dismiss.add_argument("items", type=given, nargs="+", metavar="ITEM", help=items)
    review = add_command(
        commands,
        "review",
        "judging.review",
        "record what a person says a recording is, beside the service's verdict",
        "Both stand in the\nreceipt. A later word replaces an earlier one, which stays in the history.",
    )
    review.add_argument("item", type=given, metavar="ITEM", help=items)
    words = review.add_mutually_exclusive_group(required=True)
    for word, told in (
        (ReviewWord.HUMAN, "it is a person's voice"),
        (ReviewWord.ARTIFICIAL, "it is not"),
        (ReviewWord.UNCLEAR, "nobody can tell"),
    ):
        words.add_argument(f"--{word}", dest="word", action="store_const", const=str(word), help=told)
    review.add_argument("--note", metavar="TEXT", default="", help="why, in a sentence")
    pause = add_command(
        commands,
        "pause",
        "deciding.pause",
        "stop submitting",
        "Everything else goes on: taking files, filing, verdicts.",
    )
    pause.add_argument("--reason", metavar="TEXT", default="", help="why, shown by `status` and `why`")
    add_all_sites(pause, "pause")
    resume = add_command(
        commands,
        "resume",
        "deciding.resume",
        "submit again",
        "Ends a person's pause. If the account or the service is the reason, one\nrecording is tried at once.",
    )
    add_all_sites(resume, "resume")


def add_clearing(commands: Commands) -> None:
    prune = add_command(
        commands,
        "prune",
        "clearing.prune",
        "remove what was kept long enough",
        "Removes the recordings, receipts and rows whose time\nis over ([retention]). The daemon does this by "
        "itself. A tombstone stays, so that nothing is paid for\nagain. What was altered after it was filed stays "
        "and is named (exit code 1).",
    )
    prune.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    erase = add_command(
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
        type=given,
        nargs="+",
        metavar="ITEM",
        help="its id, the first 6 characters of it or more, or its path",
    )
    erase.add_argument("--all-copies", action="store_true", help="also every other recording with the same bytes")
    erase.add_argument("--dry-run", action="store_true", help="only say what would be erased, and what stays")
