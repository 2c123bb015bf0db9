"""The commands to run the program, and to begin with it: run, demo, sandbox, completion, password, notify."""

from math import inf

from watcher.cli.arguments.command_parser import Commands, add_command, given

_EXITS = """\
exit codes: 0 all is well; 1 done, but something failed or was left, and is named; 69 the service or the account
stands in the way, and the files wait; 75 another instance is running; 78 the configuration is wrong."""


def add_running(commands: Commands) -> None:
    run = add_command(
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


def _seconds(said: str) -> float:
    """Parse a number of seconds. Raises ValueError, from which argparse makes its message."""
    seconds = float(said)
    if not 0 <= seconds < inf:
        raise ValueError
    return seconds


_seconds.__name__ = "number of seconds"  # argparse says "invalid … value"


def add_trying(commands: Commands) -> None:
    demo = add_command(
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
        type=given,
        metavar="DIR",
        help="an empty or new folder for the demo's files, which stay there (default: a new temporary folder)",
    )
    sandbox = add_command(
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
    completion = add_command(
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


def add_hashing(commands: Commands) -> None:
    add_command(
        commands,
        "password",
        "hashing.password",
        "make the hash that web.password_file holds",
        "Asks for a password twice, or reads one line from standard\ninput, and prints its hash: "
        "(umask 077; watcher password > web.password).",
        configured=False,
    )


def add_telling(commands: Commands) -> None:
    notify = add_command(
        commands,
        "notify",
        "notifying.notify",
        "try the addresses in notify.urls_file",
        "Exits with 1 if one did not take the message. Addresses\nare secrets: each is named by its line.",
    )
    notify.add_argument("--test", action="store_true", required=True, help="send a test message to every address")
