"""The parser of one command, and the options that several have."""

import argparse
from typing import TypeAlias

from watcher.cli.parser import Parser

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001 — it has no public name


def add_command(
    commands: Commands,
    name: str,
    command: str,
    summary: str,
    description: str = "",
    *,
    configured: bool = True,
    json: bool = False,
) -> Parser:
    """Add this command, and return its parser. `command`: the module and the function that carry it out."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}. {description}".strip(),
    )
    parser.set_defaults(command=command, called=name)
    if configured:
        parser.add_argument(
            "--config", type=given, metavar="PATH", help="the configuration file (see `watcher --help`)"
        )
    if json:
        parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    return parser


def add_all_sites(parser: Parser, what: str) -> None:
    parser.add_argument(
        "--all-sites",
        action="store_true",
        help=f"{what} every site of this account that the database has (in an SQLite file there is one)",
    )


def given(said: str) -> str:
    """The text of an argument. Raises ArgumentTypeError if it is empty, as a variable that is not set would be."""
    if not said:
        raise argparse.ArgumentTypeError("it is empty; is a variable not set?")
    return said
