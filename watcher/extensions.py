"""The file name extensions of recordings."""

EXTENSIONS = frozenset(
    {
        *("wav", "wave", "rf64", "w64", "mp3", "mp2", "ogg", "oga", "opus", "spx", "flac", "aac", "adts"),
        *("m4a", "m4b", "m4p", "m4r", "mp4", "m4v", "3gp", "3gpp", "3g2", "amr", "awb", "wma", "asf"),
        *("aif", "aiff", "aifc", "au", "snd", "caf", "webm", "mka", "mkv", "mov", "qt"),
        *("gsm", "ulaw", "ul", "mulaw", "alaw", "al", "g722", "g729", "sln", "raw", "pcm", "vox"),
        *("dss", "ds2", "ac3", "dts", "ape", "wv", "tta", "mpc", "voc", "sph"),
    }
)
"""Without the dot, in lower case. Whether such a file has sound is decided by its content."""


def is_recording_name(path: bytes) -> bool:
    """Return whether the path has the extension of a recording, in either case."""
    name = path.rpartition(b"/")[2]
    stem, dot, extension = name.rpartition(b".")
    return bool(stem and dot) and extension.lower().decode("ascii", "replace") in EXTENSIONS
