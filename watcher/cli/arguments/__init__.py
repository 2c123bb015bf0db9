"""Every command, its options and its help."""

from collections.abc import Sequence

from watcher import __version__
from watcher.cli.arguments.deciding_commands import add_clearing, add_deciding
from watcher.cli.arguments.looking_commands import add_looking, add_reporting
from watcher.cli.arguments.proving_commands import add_checking, add_proving, add_recovering, add_upgrading
from watcher.cli.arguments.running_commands import add_hashing, add_running, add_telling, add_trying
from watcher.cli.parser import Parser
from watcher.domain import SORTS

_EPILOG = """\
The configuration is --config PATH, else $WATCHER_CONFIG, else ./config.toml, else /etc/watcher/config.toml.

Try it without key, configuration or network: watcher demo
"""

GROUPS = {
    "work": ("run", "pause", "resume"),
    "look": ("status", "list", "show", "why", "where", "verdicts", "report", "spend", "nodes"),
    "decide": ("retry", "release", "fail", "dismiss", "review"),
    "prove and mend": ("check", "reconcile", "drill", "recover", "migrate", "estimate"),
    "remove": ("prune", "erase"),
    "begin": ("demo", "sandbox", "password", "notify", "completion"),
}
"""The commands as the help groups them."""


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
    add_running(commands)
    add_trying(commands)
    add_upgrading(commands)
    add_recovering(commands)
    add_checking(commands)
    add_looking(commands)
    add_reporting(commands)
    add_hashing(commands)
    add_telling(commands)
    add_proving(commands)
    add_deciding(commands)
    add_clearing(commands)
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
