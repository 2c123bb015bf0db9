"""What the client sends, and when it lets the last part go."""

import hashlib
import io
import threading
import tracemalloc
from typing import BinaryIO

import pytest

from tests.client.servers import ACCEPTED, IDENTIFIER, JSON_BODY, Peer, Talk, answer, answering, wait_until
from tests.client.uploads import AUDIO, KEY, client_of, go, parts_of, upload_of
from watcher.errors import RecordingChanged, RecordingUnreachable
from watcher.identifai.upload import HELD_BACK_BYTES

# The request


def test_request_is_the_contracts_and_nothing_more(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """An upload is one POST with the documented fields, the audio last, and no header that was not meant."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password theirs\n")
    monkeypatch.setenv("NETRC", str(netrc))
    fields = {"ref_id": "0190", "webhook_url": "", "no_cache": "true"}
    with Peer(answering()) as peer, client_of(peer.url + "/") as client:
        accepted = client.submit(upload_of(fields=fields), go)
    assert (accepted.identifier, accepted.status) == (IDENTIFIER, 200)
    [seen] = peer.seen
    assert seen.head.splitlines()[0] == "POST /api/classification_audio HTTP/1.1"
    assert set(seen.headers) == {
        "host", "accept", "accept-encoding", "user-agent", "x-api-key", "content-type", "content-length",
    }  # fmt: skip
    assert seen.headers["accept"] == "application/json"
    assert seen.headers["x-api-key"] == KEY
    assert seen.headers["user-agent"].startswith("identifai-watcher/1.2.3 (")
    assert parts_of(seen) == [
        ('Content-Disposition: form-data; name="ref_id"', b"0190"),
        ('Content-Disposition: form-data; name="no_cache"', b"true"),
        (
            'Content-Disposition: form-data; name="audio"; filename="0190.wav"\r\nContent-Type: audio/wav',
            AUDIO,
        ),
    ]


@pytest.mark.parametrize("size", [1, HELD_BACK_BYTES, HELD_BACK_BYTES + 1, 1_000_000])
def test_every_size_arrives_whole(size: int) -> None:
    """Whatever its size, what arrives is the recording, at exactly the length that was promised."""
    audio = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    with Peer(answering()) as peer, client_of(peer.url) as client:
        client.submit(upload_of(audio), go)
    assert parts_of(peer.seen[0])[-1][1] == audio


def test_each_attempt_has_a_body_of_its_own() -> None:
    """The same upload can be tried again: each attempt sends all of it, under a boundary of its own."""
    upload = upload_of()
    with Peer(answering()) as peer, client_of(peer.url) as client:
        client.submit(upload, go)
        client.submit(upload, go)
    assert parts_of(peer.seen[0])[-1][1] == parts_of(peer.seen[1])[-1][1] == AUDIO
    assert peer.seen[0].headers["content-type"] != peer.seen[1].headers["content-type"]
    assert peer.connections == 1


def test_cookies_are_not_kept() -> None:
    """A cookie that the service sets never comes back to it."""
    raw = answer(JSON_BODY, "200 OK", "Set-Cookie: a=b; Path=/")
    with Peer(answering(raw)) as peer, client_of(peer.url) as client:
        client.submit(upload_of(), go)
        client.submit(upload_of(), go)
    assert all("cookie" not in seen.headers for seen in peer.seen)


def test_memory_does_not_grow_with_the_recording(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """200 MB are sent in a few megabytes of memory."""
    size = 200_000_000
    digest = hashlib.sha256()
    for _ in range(200):
        digest.update(bytes(1_000_000))
    path = tmp_path / "long.wav"
    with path.open("wb") as file:
        file.truncate(size)

    def draining(talk: Talk) -> None:
        seen = talk.hear_head()
        assert seen is not None
        room = bytearray(1_000_000)
        left = seen.promised - len(talk._rest)
        while left:
            left -= talk.sock.recv_into(room)
        talk.say(ACCEPTED)

    with Peer(draining) as peer, client_of(peer.url, deadline=60) as client, path.open("rb") as file:
        tracemalloc.start()
        try:
            client.submit(upload_of(file=file, size=size, sha256=digest.hexdigest()), go)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 4_000_000


def test_threads_share_a_client() -> None:
    """Uploads that go out at the same time do not mix, and each thread starts nothing that stays."""
    before = threading.active_count()
    recordings = [bytes([n]) * (100_000 + n) for n in range(12)]
    with Peer(answering()) as peer, client_of(peer.url) as client:
        threads = [threading.Thread(target=lambda r=r: client.submit(upload_of(r), go)) for r in recordings]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(parts_of(seen)[-1][1] for seen in peer.seen) == sorted(recordings)
    assert threading.active_count() == before


# What is let go, and when


@pytest.mark.parametrize("size", [100, 409_600])
def test_last_part_waits_for_its_release(size: int) -> None:
    """Until `release` returns the service lacks the end of the recording; it is called once."""
    audio = AUDIO[:size]
    closing_line = len("\r\n----\r\n") + 32
    arrived: list[int] = []

    with Peer(answering()) as peer, client_of(peer.url) as client:

        def missing() -> int:
            return peer.seen[0].promised - len(peer.seen[0].body) if peer.seen else 1_000_000

        def release() -> None:
            wait_until(lambda: missing() <= min(size, HELD_BACK_BYTES) + closing_line)
            arrived.append(missing())

        client.submit(upload_of(audio), release)
    assert arrived == [min(size, HELD_BACK_BYTES) + closing_line]
    assert peer.seen[0].is_whole


class FailingFile(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > 0:
            raise OSError(5, "Input/output error")
        return super().read(size)


CHANGES: dict[str, tuple[BinaryIO, type[Exception]]] = {
    "other bytes": (io.BytesIO(AUDIO[:-1] + b"?"), RecordingChanged),
    "shorter": (io.BytesIO(AUDIO[:-1]), RecordingChanged),
    "longer": (io.BytesIO(AUDIO + b"?"), RecordingChanged),
    "emptied": (io.BytesIO(), RecordingChanged),
    "unreadable": (FailingFile(AUDIO), RecordingUnreachable),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changed_recording_is_never_sent_to_its_end(name: str) -> None:
    """What is sent is what was hashed: otherwise the body is cut off, and the connection is not used again."""
    file, kind = CHANGES[name]
    with Peer(answering()) as peer, client_of(peer.url) as client:
        with pytest.raises(kind):
            client.submit(upload_of(file=file), lambda: pytest.fail("it was released"))
        client.submit(upload_of(), go)
        wait_until(lambda: len(peer.seen) == 2)
    assert sorted(seen.is_whole for seen in peer.seen) == [False, True]
    assert peer.connections == 2


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("stop"),
        KeyboardInterrupt(),
        SystemExit(3),
        BrokenPipeError("a pipe"),
        TimeoutError("ours"),
    ],
    ids=repr,
)
def test_what_release_raises_passes_through(error: BaseException) -> None:
    """The very exception comes out, the request ends before its end, and the client goes on working."""

    def release() -> None:
        raise error

    with Peer(answering()) as peer, client_of(peer.url) as client:
        with pytest.raises(type(error)) as caught:
            client.submit(upload_of(), release)
        assert caught.value is error
        assert error.__cause__ is None
        client.submit(upload_of(), go)
        wait_until(lambda: len(peer.seen) == 2)
    assert sorted(seen.is_whole for seen in peer.seen) == [False, True]
