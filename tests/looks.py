"""What must hold of every look at a recording, whatever its bytes are."""

import io

from watcher.audio import Completeness, Examination, Raw, examine
from watcher.audio import examination as foreign_kinds
from watcher.errors import RecordingRefused

ELSEWHERE = {media_type: {extension} for media_type, extension in foreign_kinds.FOREIGN.values()}
ELSEWHERE["audio/x-aiff"] = {".aiff", ".aifc"}
MEDIA_TYPES = {
    "audio/mpeg": {".mp3"},
    "audio/wav": {".wav"},
    "audio/ogg": {".ogg"},
    "audio/flac": {".flac"},
    "audio/aac": {".aac"},
    "audio/3gp": {".3gp"},
    "audio/m4a": {".m4a"},
    "audio/m4b": {".m4b"},
    "audio/m4p": {".m4p"},
    "audio/m4r": {".m4r"},
    "video/mp4": {".mp4"},
}


class Counted(io.BytesIO):
    """A file that counts what is read of it."""

    total = 0

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert size >= 0, "never all of it"
        self.total += size
        return super().read(size)


QUICK_BYTES = 1 << 19
"""Of a larger file a quick look does not see all: a frame that is cut off at the end, for example."""


def looked(data: bytes, size: int | None = None, raw: Raw | None = None) -> Examination | None:
    """The examination, or null for a refusal; with what must hold of both."""
    file = Counted(data)
    found, refusal = None, None
    size = len(data) if size is None else size
    try:
        found = examine(file, size, name=b"a\xff\n.wav", raw=raw)
    except RecordingRefused as refused:
        refusal = refused
    if refusal:
        assert (refusal.code, refusal.message.isprintable()) == ("unsupported_type", True)
        assert refusal.hint.isprintable()
    assert file.total <= 1 << 20
    if found:
        check_thorough(data, size, found, raw)
        assert found.damage is None or found.completeness is not Completeness.PROVEN
        assert found.extension in (MEDIA_TYPES if found.is_accepted else ELSEWHERE)[found.media_type]
        assert found.missing_bytes >= 0
        assert found.missing_bytes == 0 or found.completeness is Completeness.SHORT
        assert found.seconds is None or 0 <= found.seconds < float("inf")
        assert found.channels is None or found.channels > 0
        assert found.sample_rate is None or found.sample_rate > 0
    return found


def check_thorough(data: bytes, size: int, quick: Examination, raw: Raw | None = None) -> None:
    """A thorough look finds the same kind, and no more lacking; it reads every byte a few times at the most."""
    file = Counted(data)
    found = examine(file, size, thorough=True, raw=raw)
    assert file.total <= 8 * len(data) + (1 << 20)
    assert found.container == quick.container
    assert quick.has_sound or not found.has_sound
    is_short, was_short = (one.completeness is Completeness.SHORT for one in (found, quick))
    assert is_short or not was_short
    assert was_short or not is_short or size > QUICK_BYTES
    assert found.damage is not None or quick.damage is None
    assert found.seconds is None or 0 <= found.seconds < float("inf")
