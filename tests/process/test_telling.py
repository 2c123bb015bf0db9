"""The real daemon tells a real webhook and a real mail server, whatever is killed in between."""

import json
import re
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.places import REFUSED, Place
from tests.process.conftest import MakePlace
from tests.process.programs import Program, Programs, wait_until
from tests.receivers import SECRETS, Mailbox, Webhook, mailbox, webhook
from watcher.sandbox import Sandbox

COMPANY = 90.0
"""Seconds: far more than the 30 that what opens waits for company."""


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as running:
        yield running


@pytest.fixture
def mails() -> Iterator[Mailbox]:
    with mailbox() as box:
        yield box


def tells(make_place: MakePlace, tmp_path: Path, *urls: str, mode: int = 0o600, **settings: Any) -> Place:
    """A site with these addresses."""
    file = tmp_path / "urls"
    file.write_text("\n".join(urls) + "\n")
    file.chmod(mode)
    return make_place(notify={"urls_file": str(file)} | settings)


def sent(place: Place) -> list[str]:
    """The marks of the addresses that each message was sent to, as the database has it."""
    with closing(sqlite3.connect(f"file:{place.config.store.file}?mode=ro", uri=True)) as books:
        return [mark for (mark,) in books.execute("SELECT sent_to FROM messages ORDER BY serial")]


def numbers(texts: list[str]) -> list[str]:
    """The keys against repeats in these messages."""
    return [found[0] for text in texts if (found := re.search(r"Message [0-9a-f]{6}-[0-9]+", text))]


def fail_one(place: Place, service: Sandbox, name: str) -> None:
    service.add_fault(**REFUSED, times=1)
    place.drop(name)


def test_killed_between_making_and_sending_it_arrives(
    make_place: MakePlace, service: Sandbox, watcher: Programs, tmp_path: Path
) -> None:
    """The message is in the database, nobody listens, and the daemon is killed: the next one sends it, once."""
    with webhook() as nobody:
        port = nobody.port
    address = f"json://127.0.0.1:{port}"
    place = tells(make_place, tmp_path, address)
    fail_one(place, service, "bad.wav")
    daemon = watcher.daemon(place)
    wait_until(lambda: daemon.events("notify.failed"), seconds=COMPANY, told=lambda: daemon.err)
    assert sent(place) == [""]
    daemon.kill()
    with webhook(port) as hook:
        again = watcher.daemon(place)
        wait_until(lambda: hook.taken, seconds=COMPANY, told=lambda: again.err)
        wait_until(lambda: sent(place) != [""], seconds=COMPANY)
        assert again.stop() == 0
        assert hook.titles == ["1 failed"]
        assert "bad.wav" in hook.texts[0]


def test_killed_between_sending_and_recording_it_comes_under_one_number(
    make_place: MakePlace, service: Sandbox, watcher: Programs, hook: Webhook, tmp_path: Path
) -> None:
    """The receiver has it, the daemon is killed before it knows: it comes again, with the same key."""
    place = tells(make_place, tmp_path, hook.url)
    fail_one(place, service, "bad.wav")
    hook.free.clear()
    daemon = watcher.daemon(place)
    wait_until(lambda: hook.taken, seconds=COMPANY, told=lambda: daemon.err)
    daemon.kill()
    hook.free.set()
    assert sent(place) == [""]
    again = watcher.daemon(place)
    wait_until(lambda: len(hook.taken) == 2, seconds=COMPANY, told=lambda: again.err)
    wait_until(lambda: sent(place) != [""], seconds=COMPANY)
    assert again.stop() == 0
    first, second = numbers(hook.texts)
    assert first == second


def test_a_hanging_address_holds_neither_the_daemon_nor_its_stop(
    make_place: MakePlace, service: Sandbox, watcher: Programs, hook: Webhook, mails: Mailbox, tmp_path: Path
) -> None:
    """While a receiver never answers, mail goes out, recordings are filed, and SIGTERM ends the daemon well."""
    place = tells(make_place, tmp_path, hook.url, mails.url)
    fail_one(place, service, "bad.wav")
    hook.free.clear()
    daemon = watcher.daemon(place)
    wait_until(lambda: hook.taken and mails.mails, seconds=COMPANY, told=lambda: daemon.err)
    place.drop("good.wav")
    wait_until((place.root / "done/good.wav").exists, told=lambda: daemon.err)
    assert daemon.stop() == 0
    mail = mails.mails[0]
    assert mail["Subject"].endswith("1 failed")
    assert mail["To"] == "desk@example.org"
    body = mail.get_body(("plain", "html"))
    assert body is not None
    assert "bad.wav" in body.get_content()


def test_a_pass_tells_at_its_end(
    make_place: MakePlace, service: Sandbox, watcher: Programs, hook: Webhook, tmp_path: Path
) -> None:
    """Under cron nobody waits for company; what one pass told the next does not tell again."""
    place = tells(make_place, tmp_path, hook.url)
    fail_one(place, service, "bad.wav")
    for _ in range(2):
        watcher.start("run", "--once", "--config", place.config_path).end(seconds=COMPANY)
    assert hook.titles == ["1 failed"]


def test_a_pass_that_is_told_to_stop_leaves_a_hanging_address(
    make_place: MakePlace, service: Sandbox, watcher: Programs, hook: Webhook, tmp_path: Path
) -> None:
    """It does not wait until the address has failed: the next pass sends what this one could not."""
    place = tells(make_place, tmp_path, hook.url)
    fail_one(place, service, "bad.wav")
    hook.free.clear()
    program = watcher.start("run", "--once", "--config", place.config_path)
    wait_until(lambda: hook.taken, seconds=COMPANY, told=lambda: program.err)
    program.process.send_signal(signal.SIGTERM)
    program.end(seconds=COMPANY)
    assert program.events("notify.failed") == []
    hook.free.set()
    watcher.start("run", "--once", "--config", place.config_path).end(seconds=COMPANY)
    assert set(hook.titles) == {"1 failed"}
    assert sent(place) != [""]


def test_the_test_message_reaches_every_address(
    make_place: MakePlace, watcher: Programs, hook: Webhook, mails: Mailbox, tmp_path: Path
) -> None:
    """`notify --test` says of each whether it took it, by its line, and exits with 1 if one did not."""
    place = tells(make_place, tmp_path, hook.url, "# a comment", mails.url)
    well = run(watcher, place, "notify", "--test")
    assert (well.process.returncode, well.out) == (0, "line 1 (json): sent\nline 3 (mailto): sent\n")
    assert hook.titles == ["a test message"]
    assert mails.mails[0]["Subject"].endswith("a test message")
    hook.status = 403
    refused = run(watcher, place, "notify", "--test")
    assert refused.process.returncode == 1
    assert refused.out == "line 1 (json): failed: it answers with status 403\nline 3 (mailto): sent\n"
    for said in (well, refused):
        assert not any(secret in said.out + said.err for secret in SECRETS)


def test_what_an_address_answers_wrongly_puts_none_of_it_into_the_log(
    make_place: MakePlace, service: Sandbox, watcher: Programs, hook: Webhook, tmp_path: Path
) -> None:
    """The libraries that Apprise sends with warn of a header that is none, and name the whole address."""
    hook.garbles = True
    place = tells(make_place, tmp_path, hook.url)
    fail_one(place, service, "bad.wav")
    program = run(watcher, place, "run", "--once")
    assert hook.titles == ["1 failed"]
    assert not any(secret in program.out + program.err for secret in SECRETS)


def run(watcher: Programs, place: Place, *arguments: str) -> Program:
    program = watcher.start(*arguments, "--config", place.config_path)
    program.end(seconds=COMPANY)
    return program


def test_a_line_that_is_no_address_is_named_by_its_number_alone(
    make_place: MakePlace, watcher: Programs, tmp_path: Path
) -> None:
    """78, for `run` and for `notify --test`; `check` says it, too; and none repeats the line."""
    wrong = f"nosuch://u:{SECRETS[0]}@host/{SECRETS[1]}"
    place = tells(make_place, tmp_path, "json://127.0.0.1:9", wrong, f"{SECRETS[2]}")
    for arguments in (("run",), ("notify", "--test"), ("check", "--json")):
        ended = run(watcher, place, *arguments)
        said = ended.out + ended.err
        assert ended.process.returncode == 78, said
        assert "lines 2, 3 are no address that Apprise knows" in said
        assert not any(secret in said for secret in SECRETS)


def test_a_file_that_others_can_read_is_a_warning(
    make_place: MakePlace, watcher: Programs, tmp_path: Path
) -> None:
    """`check` names the mode and the command that mends it."""
    place = tells(make_place, tmp_path, "json://127.0.0.1:9", mode=0o644)
    ended = run(watcher, place, "check", "--json")
    (found,) = [one for one in json.loads(ended.out)["checks"] if one["name"] == "notify"]
    assert found["state"] == "warning"
    assert "mode 0644" in found["found"]
    assert "chmod 600" in found["hint"]


def test_a_missing_file_is_one_clear_error(make_place: MakePlace, watcher: Programs, tmp_path: Path) -> None:
    """78, with what to do."""
    place = make_place(notify={"urls_file": str(tmp_path / "nowhere")})
    ended = run(watcher, place, "run")
    assert ended.process.returncode == 78
    assert "nowhere does not exist" in ended.err


def test_check_names_messages_that_wait(
    make_place: MakePlace, service: Sandbox, watcher: Programs, hook: Webhook, tmp_path: Path
) -> None:
    """What no address takes for a quarter of an hour is a warning, with the command that says why."""
    hook.status = 500
    place = tells(make_place, tmp_path, hook.url)
    fail_one(place, service, "bad.wav")
    run(watcher, place, "run", "--once")
    with closing(sqlite3.connect(str(place.config.store.file))) as books, books:
        books.execute("UPDATE messages SET made_at = made_at - 1000")
    ended = run(watcher, place, "check", "--json")
    found = [one["found"] for one in json.loads(ended.out)["checks"] if one["name"] == "notify"]
    assert found[0].startswith("a message waits for an address that does not take it, since ")
