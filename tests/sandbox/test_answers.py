"""The stand-in of the service answers as the service does, over real HTTP, and its ledger is the truth."""

import hashlib
import json
import os
import re

import pytest
import requests

from tests.sandbox.visits import KEY, LIST, POST, WAV, converse, form, get, last, post_form, submit, wait_for_entry
from watcher.sandbox import Sandbox

# Answers


def test_identifier_is_json_or_text_by_accept(sandbox: Sandbox) -> None:
    """JSON for who accepts JSON first; the bare identifier as plain text for everyone else."""
    said = submit(sandbox)
    identifier = said.json()["identifier"]
    assert said.json() == {"identifier": identifier}
    assert re.fullmatch("[0-9a-f]{64}", identifier)
    assert "X-Sandbox-Invented" not in said.headers
    for accept in ("text/plain", "*/*", "text/plain, application/json", "application/json;q=0.5, text/html"):
        plain = submit(sandbox, accept=accept)
        assert (plain.text, plain.headers["Content-Type"][:10]) == (identifier, "text/plain")


@pytest.mark.parametrize(
    ("audio", "key", "body"),
    [
        (b"<html>", KEY, {"error": "The uploaded file format is not supported."}),
        (
            WAV + bytes(1_000),
            KEY,
            {"error": "The uploaded file exceeds the maximum allowed size of 50MB."},
        ),
        (WAV, "stranger", {"error": "Unauthorized"}),
    ],
)
def test_errors_have_the_documented_bodies(audio: bytes, key: str, body: dict[str, str]) -> None:
    """A refusal says exactly what the documentation says, as JSON, or is a page in HTML."""
    with Sandbox(KEY, writes=(), max_upload_bytes=1_000) as sandbox:
        said = submit(sandbox, audio, key=key)
        assert (said.status_code, said.json()) == (401 if key != KEY else 400, body)
        assert "X-Sandbox-Invented" not in said.headers
        page = submit(sandbox, audio, key=key, accept="text/plain, application/json")
        assert page.status_code == said.status_code
        assert page.headers["Content-Type"].startswith("text/html")
        assert sandbox.charged == 0


def test_size_limit_is_inclusive() -> None:
    """A recording of exactly the limit is accepted."""
    with Sandbox(KEY, writes=(), max_upload_bytes=1_000) as sandbox:
        assert submit(sandbox, WAV + bytes(1_000 - len(WAV))).status_code == 200
        assert submit(sandbox, WAV + bytes(1_001 - len(WAV))).status_code == 400


def test_body_over_the_server_limit_has_no_fields() -> None:
    """Over the limit for a whole body, the service sees no fields: "required" can mean "too large"."""
    with Sandbox(KEY, writes=(), max_body_bytes=5_000) as sandbox:
        said = submit(sandbox, WAV + bytes(1_000_000), ref_id="a")
        assert (said.status_code, said.json()) == (400, {"audio": ["The audio field is required."]})
        assert (last(sandbox).ref_id, last(sandbox).bytes > 1_000_000) == (None, True)


@pytest.mark.parametrize(
    "disposition",
    ['name="audio"', "name=\"audio\"; filename*=UTF-8''call.wav", 'name="audio"; filename=""', 'name="file"'],
)
def test_part_without_filename_is_no_file(sandbox: Sandbox, disposition: str) -> None:
    """Without a plain `filename=` the audio is taken for a text field, so it is missing."""
    said = post_form(sandbox, form((disposition, WAV)))
    assert (said.status_code, said.json()) == (400, {"audio": ["The audio field is required."]})


@pytest.mark.parametrize(
    "start",
    [
        WAV,
        b"RIFF\x00\x00\x00\x00WAVE",
        b"RF64\xff\xff\xff\xffWAVE",
        b"ID3\x04",
        b"\xff\xfb\x90\x44",
        b"\xff\xf3\x40\xc4",
        b"\xff\xf1\x50\x80",
        b"OggS",
        b"fLaC",
        b"\x00\x00\x00\x18ftypM4A ",
        b"\x00\x00\x00\x18ftypisom",
        b"\x00\x00\x00\x18ftyp3gp4",
    ],
)
def test_listed_formats_pass_by_content(sandbox: Sandbox, start: bytes) -> None:
    """What begins as a listed format passes, whatever it is called and however short it is."""
    assert submit(sandbox, start, filename="x.txt").status_code == 200


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"RIFF\x00\x00",
        b"RIFF\x00\x00\x00\x00AVI ",
        b"\x1aE\xdf\xa3",
        b"FORM\x00\x00\x00\x00AIFF",
        b".snd",
        b"#!AMR\n",
        b"\x00\x00\x00\x14ftypqt  ",
        b"\x00\x00\x00\x14ftyp3g2a",
        b"\xff\xfb\xf0\x00",
        b"\xff\xd8\xff\xe0",
        b"0&\xb2u",
        WAV + b"sandbox:unsupported",
    ],
)
def test_other_formats_are_refused_by_content(sandbox: Sandbox, start: bytes) -> None:
    """What begins as none is refused, even under a listed extension and media type."""
    said = submit(sandbox, start)
    assert (said.status_code, said.json()) == (400, {"error": "The uploaded file format is not supported."})


def test_texts_are_trimmed_and_empty_is_null(sandbox: Sandbox) -> None:
    """Fields are trimmed; an empty one was never sent. The ledger keeps what came."""
    submit(sandbox, ref_id="  abc ", no_cache=" ")
    assert (last(sandbox).ref_id, last(sandbox).options, last(sandbox).charged) == ("abc", {"no_cache": " "}, True)
    submit(sandbox, ref_id=" ")
    assert (last(sandbox).ref_id, last(sandbox).options) == (None, {})


def test_booleans_are_four_words(sandbox: Sandbox) -> None:
    """true, false, 1 and 0 are booleans; anything else is a validation error, marked as invented."""
    for word in ("true", "false", "1", "0"):
        assert submit(sandbox, no_cache=word, prevent_c2pa_forces=word).status_code == 200
    for word in ("yes", "True", "2"):
        said = submit(sandbox, no_cache=word)
        assert (said.status_code, list(said.json()), said.headers["X-Sandbox-Invented"]) == (
            400,
            ["no_cache"],
            "body",
        )


def test_strange_paths_and_methods_are_named(sandbox: Sandbox) -> None:
    """Nothing is where nothing is, and a wrong method names the right ones."""
    assert get(sandbox, "/api/nowhere").status_code == 404
    assert get(sandbox, "/sandbox/nowhere").status_code == 404
    wrong = get(sandbox, POST)
    assert (wrong.status_code, wrong.headers["Allow"]) == (405, "POST")
    head = requests.head(sandbox.url + LIST, headers={"X-Api-Key": KEY}, timeout=10)
    assert (head.status_code, head.content) == (400, b"")


# Money


def test_repeat_is_free_and_no_cache_is_not(sandbox: Sandbox) -> None:
    """The same bytes with the same options are paid for once; `no_cache` pays again, for one identifier."""
    first = submit(sandbox, ref_id="a").json()["identifier"]
    assert submit(sandbox, ref_id="b", filename="other.wav").json()["identifier"] == first
    assert (last(sandbox).cached, last(sandbox).charged, sandbox.charged) == (True, False, 1)
    assert submit(sandbox, no_cache="true").json()["identifier"] == first
    assert (last(sandbox).cached, last(sandbox).charged, sandbox.charged) == (False, True, 2)
    assert submit(sandbox, prevent_c2pa_forces="1").json()["identifier"] != first
    assert submit(sandbox, WAV + b"x").json()["identifier"] != first
    assert sandbox.charged == 4


def test_credit_runs_out(sandbox: Sandbox) -> None:
    """Without credit a new submission is a 400 whose body is marked as invented; a repeat is still free."""
    sandbox.credit = 1
    assert submit(sandbox).status_code == 200
    said = submit(sandbox, WAV + b"x")
    assert (said.status_code, said.headers["X-Sandbox-Invented"], sandbox.charged) == (400, "body", 1)
    assert submit(sandbox).status_code == 200
    sandbox.credit = 1
    assert submit(sandbox, WAV + b"x").status_code == 200


def test_ledger_tells_everything(sandbox: Sandbox) -> None:
    """An entry has what was sent, what it came to and what it cost; over HTTP the same as in-process."""
    audio = WAV + os.urandom(300_000)
    identifier = submit(sandbox, audio, ref_id="r", no_cache="1", filename="Ä.wav").json()["identifier"]
    entry = last(sandbox)
    assert (entry.number, entry.method, entry.path, entry.status, entry.charged) == (1, "POST", POST, 200, True)
    assert (entry.sha256, entry.size) == (hashlib.sha256(audio).hexdigest(), len(audio))
    assert (entry.identifier, entry.ref_id, entry.options) == (identifier, "r", {"no_cache": "1"})
    assert (entry.filename, entry.media_type, entry.is_whole, entry.bytes > len(audio)) == (
        "Ä.wav",
        "audio/wav",
        True,
        True,
    )
    shown = requests.get(sandbox.url + "/sandbox/ledger", timeout=10).json()
    assert shown["charged"] == 1
    assert shown["entries"] == json.loads(json.dumps([entry.as_json() for entry in sandbox.ledger]))
    assert shown["entries"][0]["time"].startswith("2023-11-14T22:13:20")


def test_aborted_upload_is_recorded_and_free(sandbox: Sandbox) -> None:
    """A body that is cut off before its end is in the ledger, without an answer and without a charge."""
    body = form(('name="audio"; filename="a.wav"', WAV + bytes(1_000)))
    head = (
        f"POST {POST} HTTP/1.1\r\nHost: x\r\nX-Api-Key: {KEY}\r\n"
        "Content-Type: multipart/form-data; boundary=xYz\r\n"
    )
    length = f"Content-Length: {len(body)}\r\n\r\n"
    assert converse(sandbox, (head + length).encode() + body[:-1]) == b""
    entry = wait_for_entry(sandbox, 1)
    assert (entry.is_whole, entry.status, entry.charged, entry.bytes) == (False, None, False, len(body) - 1)
    chunked = head + f"Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n"
    assert converse(sandbox, chunked.encode() + body + b"\r\n") == b""
    assert wait_for_entry(sandbox, 2).is_whole is False
    assert sandbox.charged == 0


def test_cut_form_is_refused(sandbox: Sandbox) -> None:
    """A form without its closing boundary is not accepted, though its length was right."""
    said = post_form(sandbox, form(('name="audio"; filename="a.wav"', WAV))[:-20])
    assert (said.status_code, said.headers["X-Sandbox-Invented"]) == (400, "body")
