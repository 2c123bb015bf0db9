"""Whatever a call centre records is made acceptable, or says why not: from the drop folder to done/, for real."""

import io
import json
import wave

import pytest

from tests.audio_files import recording
from tests.conftest import MakePlace
from tests.journey.test_commands_that_look import said
from tests.places import Place, speech
from watcher.audio.synthesis import wav
from watcher.domain import State
from watcher.errors import Exit
from watcher.sandbox import Sandbox

LIMIT = 200_000
CALLS = {
    "long.wav": recording("wav.stereo", 12.0),  # 768,044 bytes
    "law.wav": recording("wav.mulaw", 40.0),
    "gsm.wav": recording("wav.gsm", 150.0),
    "long.mp3": recording("mp3", 120.0),
    "call.wma": recording("wma", 4.0),
    "call.amr": recording("amr", 4.0),
    "call.webm": recording("webm", 4.0),
    "call.mka": recording("matroska.mp3", 4.0),
    "call.aiff": recording("aiff", 2.0),
    "call.caf": recording("caf", 2.0),
    "call.mov": recording("mov", 4.0),
    "call.w64": recording("wave64", 2.0),
    "call.au": recording("au.mulaw", 4.0),
    "call.flv": recording("flv", 4.0),
    "call.ulaw": recording("wav.mulaw", 4.0)[58:],
    "call.gsm": (b"\xd2" + bytes(range(32))) * 100,
    "short.wav": speech("short"),
}
RAW = [
    {"names": "*.ulaw", "codec": "mulaw", "rate": 8000, "channels": 1},
    {"names": "*.gsm", "codec": "gsm"},
]


@pytest.fixture
def place(make_place: MakePlace) -> Place:
    return make_place(limits={"max_upload_bytes": LIMIT, "writes": []}, audio={"raw": RAW})


@pytest.mark.parametrize("folder", ["drop", "elsewhere"])
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("short.wav", "How it would be sent: as it is, in 1 submission."),
        ("long.wav", "it is encoded as FLAC, without loss, in 1 to 6 submissions."),
        ("law.wav", "it is cut at its blocks, without loss, in 2 submissions."),
        ("call.webm", "its packets go into Ogg, unchanged, in 1 submission."),
    ],
)
def test_why_tells_how_a_file_would_be_sent_before_it_is_dropped_or_seen(
    place: Place, capsys: pytest.CaptureFixture[str], folder: str, name: str, told: str
) -> None:
    """Wherever it lies: the mode, the submissions and the reason, as the receipt will have them."""
    path = place.root / folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(CALLS[name])
    assert told in said(place, capsys, "why", str(path))


def test_why_tells_that_a_file_would_be_refused(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """With the reason, before it costs a minute. What a file lacks that is still being written may come."""
    (place.root / "cut.wav").write_bytes(speech("cut")[:-5_000])
    (place.root / "text.wav").write_bytes(b"this is no recording")
    (place.root / "text.txt").write_bytes(b"this is no recording")
    assert "It would be refused: " in said(place, capsys, "why", str(place.root / "cut.wav"))
    assert "It would be refused: " in said(place, capsys, "why", str(place.root / "text.wav"))
    assert "it would be left where it is" in said(place, capsys, "why", str(place.root / "text.txt"))
    place.configure(audio={"max_parts": 1, "oversize": "split"}, limits={"max_upload_bytes": LIMIT})
    place.drop("long.wav", CALLS["long.wav"])
    assert "submissions, more than 1 (audio.max_parts)" in said(place, capsys, "why", "long.wav")
    place.drop("cut.wav", speech("cut")[:-5_000])
    place.run_once()
    told = said(place, capsys, "why", "cut.wav")
    assert "would be refused" not in told


def test_whatever_a_call_centre_records_is_done(
    place: Place, service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing in failed/, no submission over the limit, and no more of them than were told beforehand."""
    for name, content in CALLS.items():
        place.drop(name, content)
    told = json.loads(said(place, capsys, "estimate", "--json", str(place.root / "drop")))
    assert (told["recordings"], told["refused"]) == (len(CALLS), 0)

    outcome = place.run_once()

    assert outcome.exit_code == Exit.WELL
    failed = {
        path: place.receipt(path)["error"]
        for path in place.files()
        if path.startswith("failed/") and path.endswith(".json")
    }
    assert failed == {}
    assert place.states() == dict.fromkeys(CALLS, State.DONE)
    posts = [entry for entry in service.ledger if entry.method == "POST"]
    accepted = [entry for entry in posts if entry.status == 200]
    assert told["fewest_submissions"] <= len(posts)
    assert len(CALLS) < len(accepted) <= told["submissions"]


def mostly_silent(seconds: float) -> bytes:
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(wav(4.0, seed=1)[44 : 44 + 4 * 8000 * 2] + bytes(int((seconds - 4.0) * 8000) * 2))
    return made.getvalue()


def with_tag(content: bytes, size: int) -> bytes:
    """An MP3 with so many bytes before its sound, as a picture has them."""
    return b"ID3\x03\x00\x00" + bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0)) + bytes(size) + content


@pytest.mark.parametrize(
    ("name", "content"),
    [("quiet.wav", mostly_silent(90.0)), ("cover.mp3", with_tag(recording("mp3", 30.0), 150_000))],
)
def test_what_may_shrink_is_not_refused_for_what_it_might_have_cost(
    make_place: MakePlace, service: Sandbox, capsys: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    """Silence takes next to nothing as FLAC, and a picture is not sent: one submission, as allowed."""
    assert len(content) > LIMIT
    place = make_place(limits={"max_upload_bytes": LIMIT, "writes": []}, audio={"max_parts": 1})
    place.drop(name, content)
    told = json.loads(said(place, capsys, "estimate", "--json", str(place.root / "drop")))
    assert (told["refused"], told["fewest_submissions"]) == (0, 1)
    place.run_once()
    assert place.states() == {name: State.DONE}
    assert len([entry for entry in service.ledger if entry.method == "POST"]) == 1


@pytest.mark.parametrize("name", ["call.webm", "call.aiff", "call.wma"])
def test_foreign_recordings_fail_where_they_are_not_wanted(
    make_place: MakePlace, service: Sandbox, name: str
) -> None:
    """Unpaid, with the setting that decided, and a command to convert it by hand."""
    place = make_place(audio={"foreign": "fail"})
    place.drop(name, CALLS[name])
    place.run_once()
    error = place.receipt(f"failed/{name}.json")["error"]
    assert error["code"] == "unsupported_type"
    assert 'audio.foreign is "fail"' in error["message"]
    assert "ffmpeg -nostdin" in error["hint"]
    assert [entry for entry in service.ledger if entry.method == "POST"] == []


@pytest.mark.parametrize(
    ("name", "content", "rule", "says"),
    [
        ("a.ulaw", wav(4.0, seed=3)[44:], {"codec": "mulaw"}, "noise"),
        ("a.raw", recording("aiff", 2.0)[54:], {"codec": "pcm", "rate": 16000}, "noise"),
        ("a.gsm", wav(4.0, seed=3)[44:], {"codec": "gsm"}, "GSM 6.10"),
    ],
)
def test_what_is_surely_no_such_sound_is_not_paid_for(
    make_place: MakePlace, service: Sandbox, name: str, content: bytes, rule: dict[str, object], says: str
) -> None:
    """A rule that does not fit makes noise: it is said plainly."""
    place = make_place(audio={"raw": [{"names": name, **rule}]})
    place.drop(name, content)
    place.run_once()
    error = place.receipt(f"failed/{name}.json")["error"]
    assert error["code"] == "undecodable"
    assert says in error["message"]
    assert [entry for entry in service.ledger if entry.method == "POST"] == []


def test_a_file_with_a_header_is_what_its_header_says(make_place: MakePlace, service: Sandbox) -> None:
    """Whatever a rule for its name says: a WAV that is called .ulaw is sent as it is."""
    place = make_place(audio={"raw": RAW})
    place.drop("a.ulaw", speech("a"))
    assert place.run_once().exit_code == Exit.WELL
    (post,) = [entry for entry in service.ledger if entry.method == "POST"]
    assert post.status == 200


def test_too_short_is_not_paid_for(make_place: MakePlace, service: Sandbox) -> None:
    """min_seconds counts for what would be sent as it is, too."""
    place = make_place(audio={"min_seconds": 5})
    place.drop("a.wav", wav(4.0, seed=1))
    place.run_once()
    assert place.receipt("failed/a.wav.json")["error"]["code"] == "too_short"
    assert [entry for entry in service.ledger if entry.method == "POST"] == []
