"""Which files are recordings by their names: the endings, in one place."""

ENDINGS = frozenset(
    {
        *("wav", "wave", "rf64", "w64", "mp3", "mp2", "ogg", "oga", "opus", "spx", "flac", "aac", "adts"),
        *("m4a", "m4b", "m4p", "m4r", "mp4", "m4v", "3gp", "3gpp", "3g2", "amr", "awb", "wma", "asf"),
        *("aif", "aiff", "aifc", "au", "snd", "caf", "webm", "mka", "mkv", "mov", "qt"),
        *("gsm", "ulaw", "ul", "mulaw", "alaw", "al", "g722", "g729", "sln", "raw", "pcm", "vox"),
        *("dss", "ds2", "ac3", "dts", "ape", "wv", "tta", "mpc", "voc", "sph"),
    }
)
"""Without the dot, in lower case. Whether there is sound in such a file its content tells."""


def is_recording_name(path: bytes) -> bool:
    """Whether the name at the end of this path says that a recording is in it. Case does not matter."""
    name = path.rpartition(b"/")[2]
    stem, dot, ending = name.rpartition(b".")
    return bool(stem and dot) and ending.lower().decode("ascii", "replace") in ENDINGS
