"""The key stays where it was given, whatever of it the service, or a proxy on the way, sends back."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clock import FalseClock
from tests.echoes import ENCODINGS, bones, plain
from tests.places import Place
from tests.queues import add, drain, listening
from watcher import composition
from watcher.cli import main
from watcher.key import Key
from watcher.sandbox import Sandbox

KEY = "k3y/Zx81-0aBcDeFgHiJ+4q"
IDENTIFIER_LIKE = "8d64370a87b820cc1cf620338f5c898bab37439c9a405f32d9eaffc50c4f27b0"


@contextmanager
def site(root: Path, key: str) -> Iterator[tuple[Place, Sandbox, composition.Journey]]:
    """A place whose service has this key, and the journey through it."""
    clock = FalseClock()
    with Sandbox(key, clock=clock, writes=(), reads=()) as service:
        place = Place(root, service.url, clock, limits={"writes": [], "reads": []}, retry={"first_seconds": 1})
        with composition.opened(place.config, Key(key, "the tests"), clock) as journey:
            yield place, service, journey


def answers_to_uploads(echo: str) -> Iterator[dict[str, Any]]:
    """Every answer to an upload that has room for a text."""
    bodies = [{"error": echo}, {"message": f"for {echo}"}, {"audio": [echo]}, {"errors": {"key": [f"{echo}!"]}}]
    bodies += [f"<html><title>{echo}</title></html>", f"<p>{echo}</p>", echo, {"detail": {"deep": [echo]}}]
    for number, status in enumerate((400, 401, 402, 403, 404, 407, 413, 422, 429, 451, 500, 502, 503)):
        yield {"kind": "status", "status": status, "body": bodies[number % len(bodies)]}
    header = "".join(c if c.isprintable() and c < "\x7f" else "" for c in echo)
    yield {"kind": "redirect", "location": f"https://proxy.example/{header}/login?{header}"}
    yield {"kind": "status", "status": 403, "body": "", "headers": {"Via": f"1.1 {header}"}}
    yield {"kind": "status", "status": 503, "body": "", "headers": {"Server": header}, "retry_after": 1}
    yield {"kind": "status", "status": 200, "body": {"status": echo}}
    yield {"kind": "status", "status": 200, "body": f"<h1>{echo}</h1>"}


def results(echo: str) -> list[dict[str, Any]]:
    """Results that say it in every field of theirs."""
    done = {"heuristic": echo, "confidence": 0.9, "classification": "artificial", "models": [echo, f"m {echo}"]}
    everywhere = dict.fromkeys(("hash", "api_version", "name", "ref_id", "result_url"), echo)
    return [
        everywhere
        | {"status": "done", "verdict": done, "verdicts": [done], "details": {"clips": [{"text": echo}]}},
        everywhere | {"status": "done", "verdict": done | {"classification": echo}},
        everywhere | {"status": "errored", "errors": [echo]},
        everywhere | {"status": "errored", "errors": {"speech": [echo, {"detail": echo}]}},
        everywhere | {"status": echo},
        {"status": "done", "verdict": echo, "verdicts": [{"models": [echo]}], "force_classification": echo},
    ]


def shown(place: Place, capsys: pytest.CaptureFixture[str]) -> str:
    """Everything that the commands say of all there is."""
    capsys.readouterr()
    config = ["--config", str(place.config_path)]
    words = [["status"], ["status", "--json"], ["list"], ["list", "--json"], ["check", "--json"]]
    for path in place.items():
        words += [["show", path], ["show", path, "--json"], ["why", path]]
    for word, *rest in words:
        main([word, *config, *rest])
    return "".join(capsys.readouterr())


@pytest.mark.parametrize("seed", range(3))
def test_no_echo_of_the_key_is_kept_or_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """In every field of every answer, in a form at random: not in the database, receipts, log or any command."""
    rng = random.Random(seed)

    def echo() -> str:
        return ENCODINGS[rng.choice(sorted(ENCODINGS))](KEY, rng)

    monkeypatch.setenv("IDENTIFAI_API_KEY", KEY)
    with site(tmp_path, KEY) as (place, service, journey), listening() as log:
        faults = list(answers_to_uploads(echo()))
        for fault in faults:
            service.add_fault(**fault)
        add(place, journey, *map(str, range(8)))
        drain(journey)
        assert [one for one in service._faults.as_json() if not one["applied"]] == []
        identifiers = {item.identifier for item in place.items().values() if item.identifier is not None}
        assert len(identifiers) >= 6
        for identifier, body in zip(sorted(identifiers), results(echo()), strict=False):
            service.add_fault("garbled", identifier=identifier, body=body)
        place.clock.wait(3600, journey.stopping)
        journey.verdict_poller.step()
        drain(journey)
        text = shown(place, capsys)
    kept = [path.read_bytes().decode("utf-8", "replace") for path in tmp_path.rglob("*") if path.is_file()]
    for said in (*kept, text, json.dumps(log, default=repr, ensure_ascii=False)):
        assert KEY not in said
        assert bones(KEY) not in plain(said)
        assert all(ENCODINGS[form](KEY, rng).rstrip("=") not in said for form in ("base64", "hexadecimal"))
    assert text.count("<key>") > 10


def test_an_identifier_that_is_the_key_is_none(tmp_path: Path) -> None:
    """A proxy that sends the request's headers back can look like an acceptance, if the key looks like that."""
    with site(tmp_path, IDENTIFIER_LIKE) as (place, service, journey):
        service.add_fault("status", status=200, body={"identifier": IDENTIFIER_LIKE})
        add(place, journey, "a")
        journey.submissions[0].step()
        assert place.item("a.wav").identifier is None
        assert [pause.code for pause in place.pauses()] == ["in_doubt"]
        drain(journey)
        assert place.item("a.wav").identifier is not None
    assert all(IDENTIFIER_LIKE.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


HOSTILE = "\x1b[31m\x1b]0;owned\x07<script>alert(1)</script>\u202e\x85\u2028\r\n'\"><img src=x onerror=alert(1)>"


def test_what_an_answer_says_is_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In every field of every answer: no terminal obeys it, in receipts too, and no page runs it."""
    with site(tmp_path, KEY) as (place, service, journey), listening() as log:
        for fault in answers_to_uploads(HOSTILE):
            service.add_fault(**fault)
        add(place, journey, *map(str, range(8)))
        drain(journey)
        identifiers = {item.identifier for item in place.items().values() if item.identifier is not None}
        for identifier, body in zip(sorted(identifiers), results(HOSTILE), strict=False):
            service.add_fault("garbled", identifier=identifier, body=body)
        place.clock.wait(3600, journey.stopping)
        journey.verdict_poller.step()
        drain(journey)
        text = shown(place, capsys)
        pages = [shown_as(place, form, capsys) for form in ("csv", "json", "html")]
    receipts = [path.read_text() for path in tmp_path.rglob("*.wav.json")]
    assert any("alert" in receipt for receipt in receipts)
    for said in (text, *receipts, *pages, *(line["event"] for line in log)):
        assert [c for c in said if not c.isprintable() and c not in "\n\r\t"] == []
    assert "<script>alert" not in pages[-1]
    assert "<img src=x" not in pages[-1]


def shown_as(place: Place, form: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The report in this form."""
    capsys.readouterr()
    main(["report", "--format", form, "--config", str(place.config_path)])
    return capsys.readouterr().out.removeprefix("\ufeff")  # by which spreadsheets know UTF-8
