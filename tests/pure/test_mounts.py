"""Which file system a path lies on, as the kernel's table has it."""

import os

import pytest

from watcher.mounts import Mount, is_network, mount_of, mounts_below, parse, parse_exports, parts_of, read_mounts

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
    options = frozenset({"rw", "vers=4.2"})
    assert MOUNTS[2] == Mount(30, 27, "0:40", b"/mnt/calls", "nfs4", "server:/export of calls", options)
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


STACKED = parse("""
27 1 254:0 / / rw - ext4 /dev/vda rw
30 27 0:40 / /mnt/share rw - cifs //server/share rw
40 27 0:50 / /srv/bound rw - fuse.bindfs /mnt/share/calls rw
41 27 0:51 / /srv/twice rw - fuse.gocryptfs /srv/bound/crypt rw
42 27 0:52 / /srv/union rw - fuse.unionfs-fuse /srv/disk=RW:/mnt/share=RO rw
43 27 0:53 / /srv/here rw - fuse.bindfs /srv/here rw
44 27 0:54 / /srv/merged rw - fuse.mergerfs a:b rw
47 27 0:56 / /srv/far rw - fuse.farfs host:/srv rw
48 27 0:57 / /srv/ssh rw - fuse.sshfs me@host:/srv rw
45 27 8:17 / /srv/ntfs rw - fuseblk /dev/sdb1 rw
46 27 0:55 / /srv/crypt rw - ecryptfs /mnt/share/.private rw
""")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (b"/srv/bound", "it is fuse.bindfs over cifs, which raises no event for what other machines write"),
        (
            b"/srv/twice",
            "it is fuse.gocryptfs over fuse.bindfs over cifs, which raises no event for what other machines write",
        ),
        (b"/srv/union", "it is fuse.unionfs-fuse over cifs, which raises no event for what other machines write"),
        (b"/srv/crypt", "it is ecryptfs over cifs, which raises no event for what other machines write"),
        (b"/srv/merged", "it is fuse.mergerfs, and what lies below that is not known"),
        (b"/srv/far", "it is fuse.farfs, and what lies below that is not known"),
        (b"/srv/ssh", "it is fuse.sshfs, which raises no event for what other machines write"),
        (b"/srv/here", ""),
        (b"/srv/ntfs", ""),
        (b"/srv", ""),
    ],
)
def test_what_lies_over_a_share_is_written_from_elsewhere_too(path: bytes, told: str) -> None:
    """A file system that shows another one's files is as far from this machine as that one."""
    assert [part.elsewhere for part in parts_of(path, STACKED) if part.path == path] == [told]
    mount = mount_of(path, STACKED)
    assert mount is not None
    assert mount.is_network is ("other machines" in told)


def test_the_parts_of_a_folder_are_told_apart() -> None:
    """A share below the folder, what others may write through this machine's own server, and the rest."""
    exports = parse_exports(
        "# Version 1.1\n# Path Client(Flags) # IPs\n"
        "/srv/with\\040blank\t10.0.0.0/8(rw,root_squash)\n/srv/read\t*(ro,sync)\n"
        "/srv/drop/north\t*(ro)  one(rw,sync)\nnot a line\n"
    )
    assert exports == [b"/srv/with blank", b"/srv/drop/north"]
    mounts = parse(
        "27 1 254:0 / / rw - ext4 d rw\n30 27 0:4 / /srv/drop/share rw - nfs4 s:/ rw\n"
        "31 27 0:5 / /srv/drop/north/disk rw - xfs d rw\n"
    )
    served = "this machine's NFS server lets others write it"
    assert [(part.path, part.elsewhere) for part in parts_of(b"/srv/drop", mounts, exports)] == [
        (b"/srv/drop", ""),
        (b"/srv/drop/north", served),
        (b"/srv/drop/north/disk", served),
        (b"/srv/drop/share", "it is nfs4, which raises no event for what other machines write"),
    ]
    assert [part.elsewhere for part in parts_of(b"/srv/with blank/drop", mounts, exports)] == [served]
    assert parts_of(b"/srv/drop", [])[0].elsewhere == "its file system is not known"


def test_this_machine_s_own_table_is_understood() -> None:
    """Every path of this machine lies on some mount."""
    mounts = read_mounts()
    found = mount_of(os.fsencode(os.path.realpath(__file__)), mounts)
    assert found is not None
    major, minor = map(int, found.device.split(":"))
    # btrfs and overlays give their files other device numbers than their mounts have
    assert found.kind in ("btrfs", "overlay") or os.stat(__file__).st_dev == os.makedev(major, minor)
