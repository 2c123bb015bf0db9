"""Users and groups of this machine, as a person calls them. One without a name is called by its number."""

import grp
import os
import pwd


def user_name(uid: int) -> str:
    """As chown and setfacl take it too."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """As chgrp takes it too."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def describe_user(uid: int) -> str:
    """For a message: `user anna`, or `uid 1234` where it has no name."""
    name = user_name(uid)
    return f"uid {uid}" if name == str(uid) else f"user {name}"


def our_groups() -> frozenset[int]:
    """The groups by which this process is judged."""
    return frozenset({os.getegid(), *os.getgroups()})


def is_of_one(gid: int, uid: int) -> bool:
    """Whether the group is that user's own, and nobody else is in it."""
    try:
        return pwd.getpwuid(uid).pw_gid == gid and not set(grp.getgrgid(gid).gr_mem) - {user_name(uid)}
    except KeyError:
        return False
