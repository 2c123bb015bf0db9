"""Users and groups of this machine, by name; by number where they have none."""

import grp
import os
import pwd
from collections.abc import Mapping

from watcher.text import show_path

_LONGEST = 64  # characters: anybody can set the environment


def user_name(uid: int) -> str:
    """Return the user's name or number, as chown and setfacl take it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """Return the group's name or number, as chgrp takes it."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def describe_user(uid: int) -> str:
    """Return the user for a message: `user anna`, or `uid 1234` without a name."""
    name = user_name(uid)
    return f"uid {uid}" if name == str(uid) else f"user {name}"


def our_groups() -> frozenset[int]:
    """Return the groups that this process's permissions depend on."""
    return frozenset({os.getegid(), *os.getgroups()})


def is_of_one(gid: int, uid: int) -> bool:
    """Return whether the group is that user's own, with nobody else in it."""
    try:
        return pwd.getpwuid(uid).pw_gid == gid and not set(grp.getgrgid(gid).gr_mem) - {user_name(uid)}
    except KeyError:
        return False


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
