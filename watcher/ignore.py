"""Names that are ignored: unfinished transfers, recycle bins, and what operating systems leave behind."""

import fnmatch
import re
from collections.abc import Callable, Iterable

from watcher.extensions import EXTENSIONS

BUILT_IN = (
    # File servers: these hold what was deleted, or second views of files that are elsewhere.
    ("Synology DSM: recycle bin, snapshots", "#recycle", "#SynoRecycle", "#snapshot", "@sharesnap"),
    ("Synology DSM: index, streams and attributes beside files", "@eaDir", "*@SynoResource", "*@SynoEAStream"),
    ("Synology DSM: temporary files, Synology Drive", "@tmp", ".SynologyWorkingDirectory"),
    ("QNAP QTS: recycle bin, snapshots, transcoded copies", "@Recycle", "@Recently-Snapshot", "@Transcode"),
    ("QNAP QTS: thumbnails and streams; Qsync", ".@*", ".streams", ".qsync*"),
    ("NetApp ONTAP: snapshots over SMB and NFS, Dell PowerScale", "~snapshot", ".snapshot"),
    ("ZFS, TrueNAS, snapper, CephFS: snapshots", ".zfs", ".snapshots", ".snap"),
    ("Samba vfs_recycle, Unraid, OpenMediaVault: recycle bin", ".recycle", ".Recycle.Bin", ".deleted"),
    ("Buffalo LinkStation and TeraStation: recycle bin", "Recycle Bin"),
    ("Samba and Windows: an earlier version of a folder", "@GMT-*"),
    ("NFS, FUSE: deleted while still open", ".nfs*", ".fuse_hidden*"),
    ("watcher: its own page of the state of things (folders.status)", "_STATUS.html"),
    # Operating systems
    ("Windows: recycle bin", "$RECYCLE.BIN", "RECYCLER"),
    ("Windows: restore points, replication", "System Volume Information", "DfsrPrivate"),
    ("Windows Explorer: views and thumbnails", "desktop.ini", "Thumbs.db", "ehthumbs.db", "ehthumbs_vista.db"),
    ("Windows programs, Microsoft Office: temporary files, who has a file open", "*.tmp", "*.temp", "~$*"),
    ("macOS: recycle bin, index, versions, events", ".Trashes", ".Spotlight-V100", ".DocumentRevisions-V100"),
    ("macOS: events, temporary items, a file's second half", ".fseventsd", ".TemporaryItems", "._*", ".DS_Store"),
    ("macOS over AFP: recycle bin, settings, temporary items", "Network Trash Folder", "Temporary Items"),
    ("macOS over AFP: settings, a folder's icon", "TheVolumeSettingsFolder", ".AppleD*", ".apdisk", "Icon\r"),
    ("macOS: a document that is being saved", "(A Document Being Saved By *"),
    ("Linux desktops: recycle bin, a file that is being saved", ".Trash-*", ".goutputstream-*", ".~lock.*"),
    ("Linux: what fsck found; backup copies of editors", "lost+found", "*~"),
    # Synchronisation
    ("Syncthing: unfinished files, versions", ".syncthing.*", "~syncthing~*", ".stfolder", ".stversions"),
    ("Nextcloud and ownCloud: unfinished files, journal", ".*.~*", ".sync_*.db", ".owncloudsync.log"),
    ("Dropbox, Google Drive: cache", ".dropbox.cache", ".tmp.drivedownload", ".tmp.driveupload"),
    ("iCloud: a file that is not here", ".*.icloud"),
    ("Resilio Sync: unfinished files, archive", "*.!sync", "*.SyncPart", "*.SyncTemp", ".sync"),
    ("GoodSync: saved versions, unfinished files", "_gsdata_"),
    ("FreeFileSync: unfinished files", "*.ffs_tmp"),
    ("Unison: unfinished files", ".unison.*"),
    ("rsync: partial files", ".rsync-partial"),
    ("rclone, Tailscale: unfinished files", "*.partial"),
    # Uploads
    ("FolderSync for Android: unfinished files", "*.tacitpart"),
    ("Android: unfinished and deleted media", ".pending-*", ".trashed-*"),
    ("WinSCP, Nextcloud: unfinished files", "*.filepart"),
    ("Pure-FTPd: unfinished files", ".pureftpd-upload.*"),
    ("ProFTPD (HiddenStores), lftp: unfinished files", ".in.*"),
    ("SFTPGo: unfinished files", ".sftpgo-upload.*"),
    ("lftp: how far segments are", "*.lftp-pget-status"),
    ("Cyberduck: segments", "*.cyberducksegment"),
    # Object stores
    ("MinIO: unfinished files of its client, the server's own", "*.part.minio", ".minio.sys"),
    ("gsutil, gcloud storage: unfinished files", "*_.gstmp"),
    ("AzCopy: unfinished files", ".azDownload-*"),
    # Browsers and download managers
    ("Chrome, Edge: unfinished files", "*.crdownload"),
    ("Firefox, KDE, yt-dlp, curl's and wget's wrappers: unfinished files", "*.part"),
    ("Safari: unfinished files", "*.download"),
    ("Opera: unfinished files", "*.opdownload"),
    ("yt-dlp: how far fragments are", "*.ytdl"),
    ("aria2: how far a file is", "*.aria2"),
    ("DownThemAll, Free Download Manager, Xunlei: unfinished files", "*.dtapart", "*.fdmdownload", "*.xltd"),
    ("µTorrent, qBittorrent, BitComet: unfinished files", "*.!ut", "*.!qB", "*.bc!"),
    ("Hugging Face and others: unfinished files", "*.incomplete"),
    # Last, so that a hidden file that has a line of its own is named by that
    ("rsync's unfinished files, and whatever else is hidden", ".*"),
)
"""Each line: the program and what it leaves, then the names, in either case.

Each comes from the program's own source or documentation (Synology, Syncthing, Nextcloud, Samba, SFTPGo, AzCopy,
gsutil, Cyberduck, MinIO), or from the ignore lists of several other programs; those of Buffalo, ProFTPD and s5cmd
are unconfirmed. None may match a name that somebody could give a recording: an extension counts only at the end.
"""

_EXTENSION = "|".join(sorted(EXTENSIONS))
SHAPES = (
    (
        "aws s3 cp, boto3: unfinished files",
        "*.wav.0aF31b2C",
        rf".+\.(?:{_EXTENSION})\.(?=[0-9]*[a-f])[0-9a-f]{{8}}",
    ),
    ("s5cmd: unfinished files", "*.wav3141592653", rf".+\.(?:{_EXTENSION})[0-9]{{9,10}}"),
    ("yt-dlp: fragments", "*.part-Frag7", r".+\.part-frag[0-9]+"),
    ("macOS: a document that is being saved", "*.sb-3f0a91c2-Xk29fQ", r".+\.sb-[0-9a-f]{8}-[0-9a-z]{6}"),
    ("Windows: fragments that chkdsk found", "found.000", r"found\.[0-9]{3}"),
)
"""Names that need a regular expression: the source, an example, the expression."""

_SHAPES = [(example, re.compile(shape, re.IGNORECASE | re.ASCII)) for _, example, shape in SHAPES]
_WILD = re.compile(r"\[[!^]?\]?[^]]*\]|[*?]")


class Ignore:
    """Recognises names to ignore, by the built-in patterns and those of `arrivals.ignore`.

    Patterns are the shell's (`*`, `?`, `[…]`) and apply to each component of a path, so that a pattern for a
    folder covers everything below it. The built-in ones ignore case; those of the configuration do not.
    """

    def __init__(self, added: Iterable[str] = ()) -> None:
        self._sources = {pattern: source for source, *patterns in BUILT_IN for pattern in patterns}
        self._sources |= {example: source for source, example, _ in SHAPES}
        built_in = [pattern for _, *patterns in BUILT_IN for pattern in patterns]
        patterns = [(pattern, f"(?ai:{fnmatch.translate(pattern)})") for pattern in built_in]
        patterns += [(pattern, fnmatch.translate(pattern)) for pattern in added]
        self._patterns = [pattern for pattern, _ in patterns]
        self._match = re.compile("|".join(f"({expression})" for _, expression in patterns)).match
        # A scan of 100,000 names asks for each. Nearly all are ruled out by the literal parts of the patterns,
        # compared without case; these may match more than the patterns do, never less.
        folded = [pattern.casefold() for pattern in self._patterns]
        self._names = frozenset(p for p in folded if not _WILD.search(p))
        self._beginnings = _shortest(p[:-1] for p in folded if p.endswith("*") and not _WILD.search(p[:-1]))
        ends = [p[1:] for p in folded if p.startswith("*") and not _WILD.search(p[1:])]
        self._endings = frozenset(end[1:] for end in ends if end.rfind(".") == 0)
        self._ends = tuple(end for end in ends if end.rfind(".") != 0)
        told = {*self._names, *(f"{p}*" for p in self._beginnings), *(f"*{p}" for p in ends)}
        rest = [p for p in folded if p not in told and not p.startswith(self._beginnings)]
        self._parts = tuple(max(_WILD.split(p), key=len) for p in rest)
        # Extensions of recordings, where no pattern or expression could match a name that ends so.
        self._plain = frozenset(
            one for one in EXTENSIONS if not any(f".{one}".endswith(e) or e.endswith(f".{one}") for e in ends)
        )

        # Most recordings are named by letters, digits, "_" and "-", and one extension: whether any pattern matches
        # such a name is found out once.
        plain = "|".join(sorted(self._plain, key=lambda one: (one != "wav", one))).encode()
        # In the usual case first: that takes half the time.
        usual = re.compile(rb"[0-9A-Za-z][0-9A-Za-z_-]*+\.(?:%b|(?i:%b))" % (plain, plain))
        self.is_usual: Callable[[bytes], object] = _no if any(map(_may_match_usual, folded)) else usual.fullmatch
        """True of most recordings' names, none of which is ignored. A scan asks this first."""

    def matching(self, name: bytes) -> str | None:
        """Return the pattern that matches this name, or a component of this relative path; else None."""
        if self.is_usual(name):
            return None
        for part in name.decode("utf-8", "surrogateescape").split("/"):
            low = part.casefold()
            ending = low.rpartition(".")[2]
            is_plain = ending in self._plain
            if (
                low in self._names
                or low.startswith(self._beginnings)
                or (not is_plain and (ending in self._endings or low.endswith(self._ends)))
                or (self._parts and any(one in low for one in self._parts))
            ):
                found = self._match(part)
                if found and found.lastindex:
                    return self._patterns[found.lastindex - 1]
            if not is_plain:
                for example, shape in _SHAPES:
                    if shape.fullmatch(part):
                        return example
        return None

    def source(self, pattern: str) -> str | None:
        """Return the program and kind of file behind a built-in pattern; None for one of `arrivals.ignore`."""
        return self._sources.get(pattern)


def _no(_name: bytes) -> bool:
    return False


def _may_match_usual(pattern: str) -> bool:
    """Return whether this pattern, in lower case, may match a usual name; true in doubt. See Ignore.__init__."""
    literals = _WILD.split(pattern)
    whole, first, last = "".join(literals), literals[0], literals[-1]
    extension = last.rpartition(".")[2]
    is_elsewhere = (
        re.fullmatch(r"[0-9a-z_.-]*", whole) is None
        or whole.count(".") > 1
        or first.startswith((".", "_", "-"))
        or ("." in last and extension not in EXTENSIONS)
        or ("." not in last and len(literals) == 1)
    )
    return not is_elsewhere


def _shortest(beginnings: Iterable[str]) -> tuple[str, ...]:
    """Return those that do not begin with another of them."""
    found = set(beginnings)
    return tuple(sorted(one for one in found if not any(one.startswith(o) for o in found - {one})))
