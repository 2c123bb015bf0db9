"""What a log line looks like, what never stands in one, and that writing one harms nothing."""

import io
import json
import logging
import re
import subprocess
import sys
import textwrap
import threading
import warnings
from pathlib import Path
from typing import Any, Literal, NoReturn

import pytest
import structlog

from watcher.errors import WatcherError
from watcher.key import Key
from watcher.logs import configure, get_logger
from watcher.outlet import Outlet

SECRET = "sk-'live'-4f1d8e\\0c93"
LOG = get_logger("watcher.journey.submit")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def to_json(
    level: Literal["debug", "info", "warning", "error"] = "info", secret: Key | None = None
) -> io.StringIO:
    stream = io.StringIO()
    configure("json", level, secret, stream)
    return stream


def to_console(secret: Key | None = None) -> io.StringIO:
    stream = io.StringIO()
    configure("console", "info", secret, stream)
    return stream


def written(stream: io.StringIO) -> str:
    """All that was written to the stream, once it has gone out."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and isinstance(handler.stream, Outlet):
            assert handler.stream.drain(20)
    return stream.getvalue()


def events(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written(stream).splitlines()]


def fail(error: Exception) -> NoReturn:
    raise error


def run(script: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """What a program of its own leaves on its standard streams."""
    command = [sys.executable, "-c", textwrap.dedent(script)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run(command, text=True, timeout=60, check=False, **streams)


# What a line holds


def test_an_event_is_one_json_line_with_time_level_and_context() -> None:
    """The time is UTC and RFC 3339; what was bound to the logger stands beside what was said."""
    stream = to_json()
    LOG.bind(item="7f3a90").warning("recording.submitted", size=3, seconds=0.5, path=b"a/call.wav", retried=False)
    (event,) = events(stream)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", event.pop("timestamp"))
    assert event == {
        "level": "warning",
        "logger": "watcher.journey.submit",
        "event": "recording.submitted",
        "item": "7f3a90",
        "size": 3,
        "seconds": 0.5,
        "path": "a/call.wav",
        "retried": False,
    }


def test_context_bound_for_a_while_stands_in_every_line() -> None:
    stream = to_json()
    with structlog.contextvars.bound_contextvars(step="submit"):
        LOG.info("step.begun")
    LOG.info("step.ended")
    assert [event.get("step") for event in events(stream)] == ["submit", None]


def test_the_form_follows_the_stream() -> None:
    """ "auto": lines for a person on a terminal, JSON anywhere else."""
    for stream, is_json in ((Terminal(), False), (io.StringIO(), True)):
        configure("auto", "info", None, stream)
        LOG.info("recording.filed", item="7f3a90")
        assert written(stream).startswith("{") == is_json
        assert "recording.filed" in written(stream)


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for stream, wish, coloured in ((Terminal(), "", True), (Terminal(), "1", False), (io.StringIO(), "", False)):
        monkeypatch.setenv("NO_COLOR", wish)
        configure("console", "info", None, stream)
        LOG.info("recording.filed")
        assert ("\x1b[" in written(stream)) == coloured


def test_the_level_is_the_least_that_is_said() -> None:
    for level, said in (("debug", 4), ("info", 3), ("warning", 2), ("error", 1)):
        stream = to_json(level)  # type: ignore[arg-type]
        LOG.debug("a.done")
        LOG.info("a.done")
        LOG.warning("a.done")
        LOG.error("a.done")
        assert len(events(stream)) == said


def test_configuring_again_replaces_what_was() -> None:
    first = to_json()
    second = to_json()
    LOG.info("recording.filed")
    assert (written(first), len(events(second))) == ("", 1)


@pytest.mark.parametrize("library", ["urllib3.connectionpool", "apscheduler.scheduler", "alembic", "watchdog"])
def test_libraries_are_heard_from_warnings_up_in_the_same_form(library: str) -> None:
    stream = to_json("debug")
    logging.getLogger(library).info("chatter")
    logging.getLogger(library).warning("missed %d", 3)
    (event,) = events(stream)
    assert (event["event"], event["level"], event["logger"]) == ("missed 3", "warning", library)
    assert "timestamp" in event


def test_libraries_are_no_louder_than_the_level() -> None:
    stream = to_json("error")
    logging.getLogger("urllib3").warning("missed")
    assert events(stream) == []


def test_an_exception_is_one_line_with_its_causes() -> None:
    stream = to_json()
    try:
        try:
            fail(OSError("disk"))
        except OSError as error:
            raise WatcherError("no room") from error
    except WatcherError:
        LOG.exception("step.failed")
    (event,) = events(stream)
    assert event["level"] == "error"
    assert event["exception"].startswith("Traceback")
    assert "OSError: disk" in event["exception"]
    assert "WatcherError: no room" in event["exception"]


@pytest.mark.parametrize("form", [to_json, to_console])
def test_a_local_variable_never_shows_in_a_traceback(form: Any) -> None:
    stream = form()
    held = "x".join("held")
    try:
        fail(ValueError(len(held)))
    except ValueError:
        LOG.exception("step.failed")
    assert "ValueError: 7" in written(stream)
    assert held not in written(stream)


# What never stands in a line


def log_the_secret_everywhere() -> None:
    event = f"asked with {SECRET}"
    LOG.info(event, key=SECRET, quoted=repr(SECRET), raw=SECRET.encode())
    LOG.info(
        "a.done", nested={"list": [(SECRET, {SECRET: SECRET})]}, error=ValueError(SECRET), key=Key(SECRET, "")
    )
    LOG.bind(bound=SECRET).info("a.done")
    logging.getLogger("urllib3").warning("header %s", SECRET)
    try:
        try:
            fail(ValueError(f"Invalid header value: {SECRET!r}"))
        except ValueError as error:
            raise WatcherError(SECRET) from error
    except WatcherError:
        LOG.exception("step.failed")
        logging.getLogger("apscheduler").exception("job failed")


@pytest.mark.parametrize("form", [to_json, to_console])
def test_the_key_stands_in_no_line(form: Any) -> None:
    """Not as a value, however deep; not in an event, a library's message, or a traceback."""
    stream = form(secret=Key(SECRET, "here"))
    log_the_secret_everywhere()
    text = written(stream)
    for said in (SECRET, repr(SECRET)[1:-1], json.dumps(SECRET)[1:-1], "4f1d8e"):
        assert said not in text
    assert text.count("step.failed") == text.count("job failed") == 1
    assert text.count("<key>") >= 15


@pytest.mark.parametrize("form", [to_json, to_console])
def test_the_value_of_the_key_header_stands_in_no_line(form: Any) -> None:
    """Even of a key that is not the configured one: an old one, or somebody else's."""
    stream = form()
    LOG.info("a.done", headers={"X-Api-Key": "other1", "Accept": "text/plain"}, X_Api_Key="other2")
    LOG.info("a.done", text="GET /\r\nx-api-key: other3\r\nAccept: a", shown="{'X-API-Key': 'other4'}")
    LOG.info("a.done", raw=b"X-Api-Key: other5\r\n", error=ValueError({"X-Api-Key": b"other6"}))
    assert "other" not in written(stream)
    assert written(stream).count("<key>") == 6
    assert "text/plain" in written(stream)


@pytest.mark.parametrize("short", ["a", "x1", "wav"])
def test_a_key_too_short_to_be_one_mangles_no_line(short: str) -> None:
    """Its text stands in everything by chance: only the header's value, and its own repr, are kept out."""
    stream = to_json(secret=Key(short, "here"))
    LOG.info("recording.queued", path=f"a/x1/sandbox-{short}.wav", key=Key(short, ""), X_Api_Key=short)
    (event,) = events(stream)
    assert (event["event"], event["path"]) == ("recording.queued", f"a/x1/sandbox-{short}.wav")
    assert (event["key"], event["X_Api_Key"]) == ("<key>", "<key>")


def test_a_key_of_eight_characters_is_kept_out() -> None:
    stream = to_json(secret=Key("8letters", "here"))
    LOG.info("a.done", text="asked with 8letters")
    assert events(stream)[0]["text"] == "asked with <key>"


def test_paths_are_shown_as_elsewhere() -> None:
    """Bytes that are no UTF-8 as xNN; never Python's b'…'."""
    stream = to_json()
    LOG.info("recording.filed", path=b"\xff/caf\xc3\xa9\n.wav", several=[b"a", b"b\x00"])
    (event,) = events(stream)
    assert (event["path"], event["several"]) == ("\\xff/café\\x0a.wav", ["a", "b\\x00"])


FORGERY = "x\n2026-01-01T00:00:00Z [info] recording.submitted\r\x1b[2J\u2028\u202e\x85\x0b\x0c\x1c"


def test_no_value_makes_a_line_of_its_own_in_json() -> None:
    stream = to_json()
    LOG.info(FORGERY, value=FORGERY, nested=[FORGERY], path=FORGERY.encode())
    assert len(written(stream).splitlines()) == 1
    assert written(stream).isascii()
    (event,) = events(stream)
    assert event["event"] == event["value"] == FORGERY


def test_no_value_makes_a_line_of_its_own_on_a_console() -> None:
    """Nor does it steer the terminal. Only tracebacks have more lines, and those are set in."""
    stream = to_console()
    LOG.info(FORGERY, value=FORGERY, nested=[{FORGERY: FORGERY}], path=FORGERY.encode())
    logging.getLogger("urllib3").warning(FORGERY)
    try:
        fail(ValueError(FORGERY))
    except ValueError:
        LOG.exception("step.failed")
    lines = written(stream).splitlines()
    assert all(line.isprintable() for line in lines)
    assert [line for line in lines[3:] if not line.startswith("    ")] == []
    assert len(lines) > 6


def test_a_line_on_a_terminal_fits_it_and_has_nothing_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of day here, what happened, what it is about first; no null, no module; later lines are set in."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    configure("auto", "info", None, stream)
    LOG.info(
        "recording.done", identifier="f" * 64, error=None, reason=None, filed_as=b"a/call.wav", path=b"call.wav"
    )
    LOG.warning("recording.failed", path=b"n" * 200 + b".wav", reason="it is cut short, " * 9)
    lines = written(stream).replace("\r", "").splitlines()
    assert max(map(len, lines)) <= 60
    said = " ".join(" ".join(lines).split())
    assert re.match(r"\d\d:\d\d:\d\d recording.done path=call.wav identifier=f", said)
    assert re.search(r" \d\d:\d\d:\d\d warning: recording.failed path=n", said)
    assert "None" not in said
    assert "logger" not in said
    assert all(re.match(r"\d\d:\d\d:\d\d \w| {9}\S", line) for line in lines)


def test_what_can_not_be_shown_is_named_and_stops_nothing() -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError

    endless: list[Any] = []
    endless.append(endless)
    stream = to_json()
    LOG.info("a.done", odd=Odd(), endless=endless, number=float("nan"), kind=logging.INFO, path=Path("a"))
    (event,) = events(stream)
    assert event["odd"] == "<Odd that cannot be shown>"
    assert (event["number"], event["kind"], event["path"]) == ("nan", 20, "a")


# That it harms nothing


class Broken(io.StringIO):
    def write(self, _text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize("form", ["auto", "json", "console"])
def test_a_stream_that_takes_nothing_stops_nothing(
    form: Literal["auto", "json", "console"], capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither broken nor closed, and nothing is said about it elsewhere."""
    closed = io.StringIO()
    closed.close()
    for stream in (Broken(), closed):
        configure(form, "info", None, stream)
        LOG.info("recording.filed")
        logging.getLogger("urllib3").warning("missed")
    assert capsys.readouterr() == ("", "")


DAEMON = """
    import sys
    from watcher import logs
    logs.configure("auto", "info", None)
    log = logs.get_logger("watcher.daemon")
    for number in range(3000):
        log.info("recording.filed", number=number)
    print("worked on")
"""


def test_a_daemon_outlives_whoever_reads_its_log() -> None:
    """The reader went away, there never was one, or its disk is full: the work goes on and ends well."""
    gone = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    gone.wait()
    closed = DAEMON.replace("import sys", "import os; os.close(2); import sys")
    with Path("/dev/full").open("w") as full:
        for script, options in ((DAEMON, {"stderr": gone.stdin}), (closed, {}), (DAEMON, {"stderr": full})):
            ended = run(script, **options)
            assert (ended.returncode, ended.stdout) == (0, "worked on\n")
    if gone.stdin:
        gone.stdin.close()


def test_nothing_is_written_to_standard_output() -> None:
    """Not before it is configured either: there commands print their data."""
    ended = run("""
        from watcher import logs
        log = logs.get_logger("watcher.store")
        log.error("too.early")
        logs.configure("auto", "debug", None)
        log.info("recording.filed")
    """)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert [json.loads(line)["event"] for line in ended.stderr.splitlines()] == ["recording.filed"]


def test_what_nobody_caught_is_a_log_line_without_the_key() -> None:
    """In the main thread, where it still ends the program, and in another."""
    ended = run(f"""
        import threading
        from watcher import key, logs
        logs.configure("json", "info", key.Key({SECRET!r}, ""))
        def fail():
            raise ValueError({SECRET!r})
        thread = threading.Thread(target=fail, name="scan")
        thread.start()
        thread.join()
        fail()
    """)
    thread, program = map(json.loads, ended.stderr.splitlines())
    assert (thread["event"], thread["thread"], program["event"]) == ("thread.crashed", "scan", "program.crashed")
    assert "ValueError: <key>" in program["exception"]
    assert "4f1d8e" not in ended.stderr
    assert ended.returncode == 1


def test_pythons_own_warnings_are_log_lines() -> None:
    stream = to_json()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        configure("json", "info", None, stream)
        warnings.warn("old ways", DeprecationWarning, stacklevel=1)
    (event,) = events(stream)
    assert (event["level"], event["logger"]) == ("warning", "py.warnings")
    assert "old ways" in event["event"]


def test_lines_of_many_threads_do_not_mix() -> None:
    stream = to_json()

    def say() -> None:
        for _ in range(100):
            LOG.info("recording.filed", text="x" * 500)

    threads = [threading.Thread(target=say) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(events(stream)) == 400
