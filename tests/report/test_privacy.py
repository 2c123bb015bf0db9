"""`privacy.names = "hide"`: no name of a recording is in the log, whatever became of it; its receipt has it."""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MakePlace
from tests.places import Place, speech
from tests.report.sites import HOSTILE, drop_hostile, refuse
from watcher import logs
from watcher.privacy import HIDDEN, Veil, hide_names
from watcher.sandbox import Sandbox
from watcher.text import quote_path, show_path


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    yield (stream := io.StringIO())
    logs.configure("auto", "info", None, io.StringIO())
    del stream


def test_the_log_has_ids_instead_of_names(make_place: MakePlace, service: Sandbox, log: io.StringIO) -> None:
    """Of what is queued, sent, refused, filed and judged, and of files that cannot be taken."""
    place = make_place(privacy={"names": "hide"}, arrivals={"incomplete_minutes": 0.01})
    refuse(service, 6)
    drop_hostile(place)
    place.drop("cut-short-call.wav", speech("cut")[:300])
    (place.root / "drop" / "a-link-of-mine.wav").symlink_to(place.root / "config.toml")
    logs.configure("json", "debug", None, log, veil=place.config.veil)
    place.run_once(verdicts=True)
    items = place.items().values()
    logs.close()

    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert {line["event"] for line in lines} >= {"recording.queued", "recording.done", "recording.failed"}
    assert {line["path"] for line in lines if line["event"] == "recording.queued"} <= {item.id for item in items}
    text = log.getvalue()
    for name in [*HOSTILE.values(), b"cut-short-call.wav", b"a-link-of-mine.wav"]:
        for part in {name, os.path.splitext(name)[0].strip()}:
            assert show_path(part) not in text, part
    receipts = "".join(path.read_text() for path in place.root.rglob("*/*.json"))
    assert "+491701234567.wav" in receipts


NAMES = [*HOSTILE.values(), b"a/b/it's mine.wav", b"with in the drop folder.wav"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_hidden_in_whatever_form_a_message_has_it(name: bytes, tmp_path: Path) -> None:
    """As people read it, as a shell takes it, as the end of an absolute path, and as a part of a sentence."""
    root = os.fsencode(tmp_path / "drop")
    whole = os.path.join(root, name)
    stem = show_path(os.path.splitext(os.path.basename(name))[0]).strip()
    said = f"{show_path(name)} in the drop folder {show_path(root)} cannot be read; chmod g+r {quote_path(whole)}"
    known = hide_names(said, [name], "0123456789abcdef")
    assert stem not in known
    assert "0123456789abcdef" in known
    unknown = Veil((root,)).hide_in(said, [])
    assert stem not in unknown
    assert HIDDEN in unknown
    assert show_path(root) in unknown


def test_what_is_no_name_stays() -> None:
    """A short name hides no other word, and the folders are named."""
    veil = Veil((b"/srv/drop",))
    assert hide_names("a call at 10:00 in a queue", [b"all.wav"]) == "a call at 10:00 in a queue"
    assert veil.hide_path(b"/srv/drop") == "/srv/drop"
    assert veil.hide_in("the drop folder /srv/drop is not there", []) == "the drop folder /srv/drop is not there"
    trace = "File \"x.py\", line 3, in open\nOSError: [Errno 5] Input/output error: b'call +49.wav'"
    assert "call +49" not in veil.hide_in_trace(trace, [])
    assert 'File "x.py", line 3' in veil.hide_in_trace(trace, [])


def test_a_place_shows_names_unless_told(place: Place) -> None:
    assert place.config.veil is None
