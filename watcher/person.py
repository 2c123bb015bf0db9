"""Who decides: the name of the user on this machine who gave a command."""

import os
from collections.abc import Mapping

from watcher.accounts import user_name
from watcher.text import show_path

_LONGEST = 64  # characters: the environment is anybody's


def name_person(environ: Mapping[str, str]) -> str:
    """The user who gave this command, for the history; never empty, printable, and short.

    It is the login name of the real user, or its number where it has no name. `sudo` tells who is behind root; for
    any other user that is only a claim, and stands beside the name.
    """
    uid = os.getuid()
    behind = _cleaned(environ.get("SUDO_USER", ""))
    if uid == 0 and behind:
        return behind
    name = _cleaned(user_name(uid)) or str(uid)
    return f"{name} (sudo by {behind})" if behind and behind != name else name


def _cleaned(name: str) -> str:
    """The name as it can be printed on one line, and no longer than anybody's."""
    return show_path(os.fsencode(name.strip()))[:_LONGEST].strip()
