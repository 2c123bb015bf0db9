"""Who decides: the name of the user on this machine who gave a command."""

import os
from collections.abc import Mapping

from watcher.accounts import user_name
from watcher.text import show_path

_LONGEST = 64  # characters: anybody can set the environment


def name_person(environ: Mapping[str, str]) -> str:
    """Return who gave this command, for the history: never empty, printable and short.

    This is the real user's login name, or its number without one. For root, SUDO_USER is the name; for anybody
    else it is only a claim, and is added in brackets.
    """
    uid = os.getuid()
    behind = _cleaned(environ.get("SUDO_USER", ""))
    if uid == 0 and behind:
        return behind
    name = _cleaned(user_name(uid)) or str(uid)
    return f"{name} (sudo by {behind})" if behind and behind != name else name


def _cleaned(name: str) -> str:
    """Return the name safe to print on one line, and cut to _LONGEST characters."""
    return show_path(os.fsencode(name.strip()))[:_LONGEST].strip()
