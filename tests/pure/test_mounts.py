"""Which file system a path lies on, as the kernel's table has it."""

import os

import pytest

from watcher.mounts import Mount, is_network, mount_of, mounts_below, parse, read_mounts

TABLE = r"""
21 27 0:20 / /proc rw,nosuid - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
30 27 0:40 / /mnt/calls rw shared:7 master:3 - nfs4 server:/export\040of\040calls rw,vers=4.2
31 30 0:41 / /mnt/calls/local rw - tmpfs tmpfs rw
32 27 0:42 / /mnt/with\040space\011and\134tab rw - fuse.sshfs someone@host:/ rw
33 27 0:43 / /srv/drop rw - ext4 /dev/vdb rw
34 33 0:44 / /srv/drop/share rw - cifs //server/share rw
35 27 8:1 / /srv/dropped rw - xfs /dev/sda1 rw
36 33 0:45 / /srv/drop rw - 9p host rw
not a line of the table
37 x 0:45 / /broken rw - ext4 /dev/x rw
"""

MOUNTS = parse(TABLE)


def test_a_line_is_read_with_its_optional_fields_and_escapes() -> None:
    """Any number of optional fields may stand before the dash; blanks, tabs and backslashes are octal."""
    assert MOUNTS[2] == Mount(30, 27, "0:40", b"/mnt/calls", "nfs4", "server:/export of calls")
    assert MOUNTS[4].point == b"/mnt/with space\tand\\tab"
    assert len(MOUNTS) == 9


def test_names_that_are_no_text_come_through() -> None:
    """A mount point is bytes: what the kernel does not escape need not be UTF-8."""
    (mount,) = parse(os.fsdecode(b"27 1 254:0 / /mnt/\xff\xc3\xa4 rw - ext4 /dev/\xff rw\n"))
    assert mount.point == b"/mnt/\xff\xc3\xa4"
    assert os.fsencode(mount.source) == b"/dev/\xff"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (b"/", "ext4"),
        (b"/home/somebody", "ext4"),
        (b"/mnt/calls", "nfs4"),
        (b"/mnt/calls/2024/a.wav", "nfs4"),
        (b"/mnt/calls/local/x", "tmpfs"),
        (b"/mnt/callsign", "ext4"),
        (b"/mnt/with space\tand\\tab/a", "fuse.sshfs"),
        (b"/srv/dropped/a", "xfs"),
        (b"/srv/drop/a", "9p"),
        (b"/srv/drop/share/a", "9p"),
    ],
)
def test_a_path_lies_on_the_mount_that_is_on_top(path: bytes, kind: str) -> None:
    """The innermost mount counts, by whole names; one that another was mounted over is out of reach."""
    mount = mount_of(path, MOUNTS)
    assert mount is not None
    assert mount.kind == kind


def test_a_mount_that_was_moved_below_a_younger_one_is_found() -> None:
    """The table's order is that of mounting, which need not be that of the tree."""
    moved = parse(
        "40 41 0:1 / /a/b rw - nfs4 s:/ rw\n27 1 254:0 / / rw - ext4 d rw\n41 27 0:2 / /a rw - xfs d rw\n"
    )
    found = mount_of(b"/a/b/c", moved)
    assert found is not None
    assert found.kind == "nfs4"


def test_mounts_below_a_folder_are_those_that_can_be_reached() -> None:
    """Each part of a drop folder is watched as its own mount demands; the folder's own is not among them."""
    assert [mount.point for mount in mounts_below(b"/mnt", MOUNTS)] == [
        b"/mnt/calls",
        b"/mnt/calls/local",
        b"/mnt/with space\tand\\tab",
    ]
    assert [mount.kind for mount in mounts_below(b"/mnt/calls", MOUNTS)] == ["tmpfs"]
    assert mounts_below(b"/srv/drop", MOUNTS) == []
    assert {mount.point for mount in mounts_below(b"/", MOUNTS)} >= {b"/proc", b"/srv/drop"}


def test_nothing_is_known_of_a_path_without_a_root() -> None:
    """An empty table is no answer, and no error."""
    assert mount_of(b"/a", []) is None
    assert mounts_below(b"/a", []) == []


@pytest.mark.parametrize(
    ("kind", "network"),
    [
        *((kind, True) for kind in ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.rclone", "virtiofs")),
        *(
            (kind, False)
            for kind in ("ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk", "vfat", "f2fs")
        ),
    ],
)
def test_network_file_systems_are_told_by_their_kind(kind: str, network: bool) -> None:
    """What other machines write to is polled, and holds no database."""
    assert is_network(kind) is network


def test_this_machine_s_own_table_is_understood() -> None:
    """Every path of this machine lies on some mount."""
    mounts = read_mounts()
    found = mount_of(os.fsencode(os.path.realpath(__file__)), mounts)
    assert found is not None
    major, minor = map(int, found.device.split(":"))
    # btrfs and overlays give their files other device numbers than their mounts have
    assert found.kind in ("btrfs", "overlay") or os.stat(__file__).st_dev == os.makedev(major, minor)
