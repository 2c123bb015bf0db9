"""The parser of the command line: it groups commands in its help, and says what a mistyped word may have meant."""

import argparse
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from watcher.text import show_text

_LONGEST_LINE = 100


class _Paragraphs(argparse.HelpFormatter):
    """Fits the terminal, in lines that can be read, and leaves paragraphs apart."""

    def __init__(self, prog: str, **options: Any) -> None:
        width = min(shutil.get_terminal_size().columns, _LONGEST_LINE) - 2
        super().__init__(prog, **{"width": width, **options})

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        return "\n\n".join(fill(paragraph, width, indent) for paragraph in text.split("\n\n"))


class Parser(argparse.ArgumentParser):
    """Parses what is typed for `watcher`, or for a command. `groups`: their names, by the group's title."""

    def __init__(self, *, groups: Mapping[str, Sequence[str]] | None = None, **options: Any) -> None:
        super().__init__(formatter_class=_Paragraphs, allow_abbrev=False, **options)
        self._groups = groups or {}

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Return the parsed arguments. Raises SystemExit after saying what is wrong, or printing the help."""
        options, unknown = self.parse_known_args(args, namespace)
        if unknown:
            commands = self._commands()
            command = commands.choices.get(getattr(options, "called", "")) if commands else None
            (command or self).refuse(unknown)
        return options

    def format_help(self) -> str:
        commands = self._commands()
        if commands is None or not self._groups:
            return super().format_help()
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        summaries = {action.dest: action for action in commands._get_subactions()}  # noqa: SLF001
        for title, names in self._groups.items():
            formatter.start_section(title)
            formatter.add_arguments([summaries[name] for name in names])
            formatter.end_section()
        formatter.start_section("options")
        formatter.add_arguments([action for action in self._actions if action.option_strings])
        formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()

    def _commands(self) -> "argparse._SubParsersAction[Parser] | None":
        found = (one for one in self._actions if isinstance(one, argparse._SubParsersAction))  # noqa: SLF001
        return next(found, None)

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Say that these arguments mean nothing here. Raises SystemExit."""
        option = next((one.partition("=")[0] for one in unknown if one.startswith("-")), "")
        if not option:
            self.error(f"unrecognized arguments: {show_text(' '.join(unknown))}")
        known = [name for action in self._actions for name in action.option_strings]
        self.error(f"there is no option {show_text(option)}{tell_nearest(option, known) or '; see --help'}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        known = [str(choice) for choice in action.choices]
        said = show_text(str(value))
        meant = tell_nearest(str(value), known)
        choices = f"; choose from {', '.join(known)}"
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            raise argparse.ArgumentError(None, f"there is no command {said}{meant or '; see `watcher --help`'}")
        raise argparse.ArgumentError(action, f"invalid choice: {said}{meant or choices}")


def tell_nearest(word: str, known: Iterable[str]) -> str:
    """Return the end of a sentence that asks whether the nearest of the known words was meant; "" for none."""
    from difflib import get_close_matches  # noqa: PLC0415 — only a mistake needs it

    near = get_close_matches(word.lower(), list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
