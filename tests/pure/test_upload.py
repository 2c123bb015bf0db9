"""The body of an upload: what it consists of, and in which order it is let go."""

import hashlib
import io
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watcher.errors import RecordingChanged, RecordingUnreachable
from watcher.identifai.upload import HELD_BACK_BYTES, READ_BYTES, Body, Cut, Upload


def upload_of(audio: bytes = b"RIFF", *, filename: str = "a.wav", **fields: str) -> Upload:
    digest = hashlib.sha256(audio).hexdigest()
    return Upload(io.BytesIO(audio), len(audio), digest, filename, "audio/wav", fields)


def body_of(upload: Upload, release: Callable[[], None] = lambda: None) -> Body:
    return Body(upload, release)


def failure_of(body: Body) -> BaseException:
    with pytest.raises(Cut) as caught:
        list(body)
    assert caught.value.__cause__ is caught.value.failure
    return caught.value.failure


@settings(deadline=None)
@given(
    audio=st.binary(max_size=200),
    filename=st.text(max_size=20),
    ref_id=st.text(max_size=20),
)
def test_length_is_known_before_it_is_read(audio: bytes, filename: str, ref_id: str) -> None:
    """Whatever is in it, a body is exactly as long as it says, ends with the audio, and names it in one line."""
    body = body_of(upload_of(audio, filename=filename, ref_id=ref_id))
    sent = b"".join(body)
    boundary = body.content_type.partition("boundary=")[2].encode()
    assert len(sent) == len(body)
    assert sent.endswith(audio + b"\r\n--" + boundary + b"--\r\n")
    head = sent[: len(sent) - len(audio) - len(boundary) - 8].split(b"--" + boundary)[-1]
    assert head.count(b"\r\n") == 4
    assert head.count(b'"') == 4
    assert b"filename*" not in head


@pytest.mark.parametrize(
    ("filename", "sent"),
    [
        ("call.wav", "call.wav"),
        ("Anruf für Jörg.wav", "Anruf für Jörg.wav"),
        ('a"b\\c/d\r\ne.wav', "a_b_c_d__e.wav"),
        ("\udcff.wav", "_.wav"),
        ("", "audio"),
    ],
)
def test_file_name_cannot_break_out_of_its_header(filename: str, sent: str) -> None:
    """A name is sent as UTF-8, without what a parser takes for its end, an escape or a path; never empty."""
    assert f'filename="{sent}"\r\n'.encode() in b"".join(body_of(upload_of(filename=filename)))


def test_empty_fields_are_left_out() -> None:
    """The service takes an empty text for null, and a boolean that is not set for absent: neither is sent."""
    sent = b"".join(body_of(upload_of(ref_id=" ", webhook_url="", no_cache="true")))
    assert sent.count(b"Content-Disposition") == 2
    assert b'name="no_cache"\r\n\r\ntrue\r\n' in sent


def test_reference_that_is_no_text_is_sent_escaped() -> None:
    """A reference made from a name that is no UTF-8 does not stop an upload."""
    assert b"\r\n\r\n\\udcff\r\n" in b"".join(body_of(upload_of(ref_id="\udcff")))


@pytest.mark.parametrize(
    "size", [0, 1, HELD_BACK_BYTES, HELD_BACK_BYTES + 1, READ_BYTES + HELD_BACK_BYTES, 3 * READ_BYTES]
)
def test_only_the_last_part_waits(size: int) -> None:
    """Everything but the last 64 KiB goes first; then `release`, once; then one last part."""
    parts: list[int] = []
    released_after: list[int] = []
    body = body_of(upload_of(bytes(size)), lambda: released_after.append(len(parts)))
    for part in body:
        parts.append(len(part))
        assert body.is_released is bool(released_after)
    assert released_after == [len(parts) - 1]
    closing = parts[-1] - min(size, HELD_BACK_BYTES)
    assert 0 < closing < 64
    assert sum(parts) == len(body)


@pytest.mark.parametrize("change", [b"RIFF?", b"RIF", b"RIFX", b""])
def test_changed_recording_cuts_the_body(change: bytes) -> None:
    """Longer, shorter or other than what was examined: the last part is never let go, nor asked for."""
    upload = upload_of(b"RIFF")
    upload.file.seek(0)
    upload.file.truncate()
    upload.file.write(change)
    body = body_of(upload, lambda: pytest.fail("it was released"))
    assert isinstance(failure_of(body), RecordingChanged)
    assert not body.is_released


def test_unreadable_recording_cuts_the_body() -> None:
    """A disk that fails is the recording's trouble, not the network's."""

    class Broken(io.BytesIO):
        def read(self, _: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    failure = failure_of(body_of(Upload(Broken(), 4, "0" * 64, "a.wav", "audio/wav", {})))
    assert isinstance(failure, RecordingUnreachable)
    assert "Input/output error" in failure.message


@pytest.mark.parametrize("error", [RuntimeError(), OSError(), KeyboardInterrupt()], ids=repr)
def test_what_release_raises_is_kept(error: BaseException) -> None:
    """The cut carries the very exception."""

    def release() -> None:
        raise error

    body = body_of(upload_of(), release)
    assert failure_of(body) is error
    assert not body.is_released


@pytest.mark.parametrize("answered_at", range(6))
def test_nothing_more_is_sent_once_it_is_answered(answered_at: int) -> None:
    """Whenever the answer comes, the body ends there; if before the last part, it was not released."""
    asked: list[None] = []
    released: list[None] = []

    def is_answered() -> bool:
        asked.append(None)
        return len(asked) > answered_at

    body = Body(upload_of(bytes(2 * READ_BYTES + HELD_BACK_BYTES)), lambda: released.append(None), is_answered)
    parts = list(body)
    assert len(parts) == min(answered_at, 2) + (answered_at >= 4)
    assert body.is_released is (answered_at >= 4)
    assert bool(released) is (answered_at >= 3)


def test_a_body_is_good_for_one_attempt() -> None:
    """A second iteration would send no bytes under the old length: it is refused."""
    body = body_of(upload_of())
    list(body)
    with pytest.raises(RuntimeError):
        list(body)


def test_memory_is_flat() -> None:
    """A body takes no more memory than a few of its parts."""

    class Endless(io.BytesIO):
        left = 100_000_000

        def read(self, size: int | None = -1, /) -> bytes:
            part = min(size or 0, self.left)
            self.left -= part
            return bytes(part)

    digest = hashlib.sha256(bytes(100_000_000)).hexdigest()
    body = body_of(Upload(Endless(), 100_000_000, digest, "a.wav", "audio/wav", {}))
    tracemalloc.start()
    try:
        assert sum(map(len, body)) == len(body)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
