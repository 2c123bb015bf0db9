"""Users and groups of this machine, by name; by number where they have none."""

import grp
import os
import pwd


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
