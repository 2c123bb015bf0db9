"""Which names are passed over."""

import fnmatch
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from watcher.ignore import BUILT_IN, SHAPES, Ignore

CHARACTERS = st.sampled_from("aAbB.~*?[]!-\u0131\u017f\u212a") | st.characters(
    exclude_characters="/\0", exclude_categories=["Cs"]
)
PARTS = st.text(CHARACTERS, min_size=1, max_size=6)
PATTERNS = st.lists(PARTS | PARTS.map("*{}".format) | PARTS.map("{}*".format), max_size=3)


@example(["*b*"], "aba")
@example(["A*"], "Ab")
@example(["*.wav"], "ab.wav")
@example(["*.wav"], "ab.WAV")
@example(["*.WAV"], "ab.wav")
@given(PATTERNS, PARTS)
def test_a_name_is_passed_over_where_one_of_the_patterns_covers_it(added: list[str], name: str) -> None:
    """The shell's patterns, as Python's own fnmatch reads them: built-in ones in any case, added ones exactly."""
    built_in = (
        re.match(fnmatch.translate(p), name, re.ASCII | re.IGNORECASE) for _, *names in BUILT_IN for p in names
    )
    shapes = (re.fullmatch(shape, name, re.ASCII | re.IGNORECASE) for _, _, shape in SHAPES)
    expected = any(built_in) or any(shapes) or any(fnmatch.fnmatchcase(name, p) for p in added)
    assert (Ignore(added).matching(name.encode("utf-8", "surrogateescape")) is not None) == expected


@pytest.mark.parametrize("name", [b".hidden", b"call.wav.PART", b"Thumbs.DB", b"a/@eaDir/b.wav", b".a/b", b"x~"])
def test_temporary_names_are_known_in_any_case_and_anywhere_in_a_path(name: bytes) -> None:
    assert Ignore().matching(name) is not None


@pytest.mark.parametrize("name", [b"call.wav", b"part.wav", b"a.tmp.wav", b"caf\xe9.wav", b"-rf", b"tmp", b"a~b"])
def test_recordings_are_not(name: bytes) -> None:
    assert Ignore().matching(name) is None


@pytest.mark.parametrize(
    "name",
    [
        # bins, snapshots and indices of file servers and systems, with a whole recording in them
        *("#recycle/day/call.wav", "@Recycle/call.wav", "$RECYCLE.BIN/S-1-5-21/$R1A2B3C.wav", "recycler/Dc1.wav"),
        *("~snapshot/hourly.0/call.wav", "#snapshot/GMT+01-2026.11.22/call.wav", "@Recently-Snapshot/x/call.wav"),
        *(".zfs/snapshot/daily/call.wav", ".snapshots/1/snapshot/call.wav", "@GMT-2026.11.22-10.00.00/call.wav"),
        *(
            ".Recycle.Bin/call.wav",
            "Recycle Bin/call.wav",
            "System Volume Information/call.wav",
            "DfsrPrivate/a.wav",
        ),
        *(".Trashes/501/call.wav", ".TemporaryItems/folders.501/call.wav", "Network Trash Folder/call.wav"),
        *("found.000/FILE0001.wav", ".Trash-1000/files/call.wav", ".stversions/call~20261122-100000.wav"),
        *("_gsdata_/_saved_/call.wav", ".dropbox.cache/2026-11-22/call.wav", ".sync/Archive/call.wav"),
        # unfinished transfers
        *(
            "~syncthing~call.wav.tmp",
            ".syncthing.call.wav.tmp",
            ".call.wav.~3f2a",
            "call.wav.!sync",
            "call.wav.ffs_tmp",
        ),
        *(
            "call.wav.a1b2c3d4.partial",
            "call.mp3.tacitpart",
            "call.wav.cyberducksegment/call-1",
            "call.wav_.gstmp",
        ),
        *("call.wav.d41d8cd98f00b204e9800998ecf8427e.part.minio", ".azDownload-1f-call.wav", "call.wav.9aF31b2C"),
        *(
            "call.wav2718281828",
            "call.wav.opdownload",
            "Unconfirmed 123456.crdownload",
            "call.wav.download/call.wav",
        ),
        *(
            "call.m4a.part-Frag12",
            "call.wav.sb-3f0a91c2-Xk29fQ",
            "(A Document Being Saved By Audacity 2)/call.wav",
        ),
        *(".in.call.wav.", ".pureftpd-upload.5f1c", ".sftpgo-upload.c1.call.wav", "call.wav.lftp-pget-status"),
        *("call.wav.SyncPart", ".minio.sys/buckets/call.wav", ".apdisk", "ehthumbs.db", "#SynoRecycle/call.wav"),
        *("~$minutes.docx", ".pending-1700000000-call.m4a", ".call.wav.icloud", "call.wav.temp", "call.wav.!qB"),
    ],
)
def test_bins_snapshots_and_unfinished_files_are_passed_over(name: str) -> None:
    """As the programs name them, in upper and lower case."""
    for spelling in (name, name.upper(), name.lower()):
        assert Ignore().matching(spelling.encode()) is not None, spelling


@pytest.mark.parametrize(
    "name",
    [
        *("call.part1.wav", "part.wav", "download/call.wav", "downloads/call.wav"),
        *("tmp/call.wav", "temp/call.wav", "call.tmp.wav", "recycle/call.wav", "recycling gmbh/call.wav"),
        *(
            "snapshot/call.wav",
            "snapshots/call.wav",
            "call~1.wav",
            "~call.wav",
            "~1/call.wav",
            "$call.wav",
            "#1.wav",
        ),
        *("@home/call.wav", "+39012~3456.wav", "call.wav.20261122", "call.20261122", "call.deadbeef", "call.3gp"),
        *("sync/call.wav", "call.sb-12.wav", "found.wav", "found/000.wav", "a document being saved by x.wav"),
        *("call.wav20261122", "call.wav.12345678", "(1)/call.wav", "call (1).wav", "icon.wav", "call.wav2"),
        *(
            "call.mp3",
            "call.part-2.mp3",
            "part-Frag/call.wav",
            "gsdata/call.wav",
            "call.incomplete.wav",
            "ut!/call.wav",
        ),
    ],
)
def test_what_may_well_be_a_recordings_name_is_not(name: str) -> None:
    """A word inside a name, a customer's folder, a date behind an ending: none of them is passed over."""
    for spelling in (name, name.upper(), name.lower()):
        assert Ignore().matching(spelling.encode()) is None, spelling
