"""What an operator may write, what it becomes, and how each mistake is named."""

import copy
import os
import pickle
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import ValidationError

from watcher.config import Config, Window, find_config, load, loading
from watcher.errors import ConfigError, Exit
from watcher.ignore import BUILT_IN, SHAPES, Ignore
from watcher.key import Key, read_key

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
SECRET = "sk-live-4f1d8e0c93"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def loaded(file: Path, text: str) -> Config:
    file.write_text(text, encoding="utf-8")
    return load(file)


def refused(file: Path, text: str) -> ConfigError:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(file)
    return caught.value


# What is right


def test_an_empty_file_is_a_configuration(file: Path) -> None:
    """Every key has the published default; paths are absolute, beside the configuration file."""
    config = loaded(file, "")
    here = os.fsencode(file.parent)
    assert config.path == file
    assert (config.folders.drop, config.folders.done) == (here + b"/drop", here + b"/done")
    assert config.folders.failed == here + b"/failed"
    assert config.store.url == f"sqlite:///{file.parent}/watcher.db"
    assert config.books == file.parent / "watcher.db"
    assert config.identifai.api_key_file == file.parent / "identifai.key"
    assert config.identifai.base_url == "https://backend.identifai.net"
    assert (config.identifai.ref_id, config.identifai.upload_name) == ("{id}", "id")
    assert (config.identifai.account, config.identifai.in_doubt) == ("default", "resubmit")
    assert (config.identifai.no_cache, config.identifai.prevent_c2pa_forces) == (False, False)
    assert config.identifai.connect_timeout_seconds == 10
    assert (config.identifai.read_timeout_seconds, config.identifai.deadline_seconds) == (60, 300)
    assert config.limits.writes == (Window(1, 1.0), Window(30, 60.0))
    assert config.limits.reads == (Window(2, 1.0), Window(60, 60.0))
    assert (config.limits.in_flight, config.limits.max_upload_bytes) == (1, 15_000_000)
    assert (config.limits.per_day, config.limits.per_month, config.limits.timezone) == (0, 0, "")
    assert (config.arrivals.settle_seconds, config.arrivals.proof) == (2.0, True)
    assert (config.arrivals.rescan_seconds, config.arrivals.watch) == (30, "auto")
    assert (config.arrivals.incomplete_minutes, config.arrivals.marker) == (60, "")
    assert (config.arrivals.sidecar, config.arrivals.ignore) == ((), ())
    assert (config.retry.first_seconds, config.retry.max_seconds, config.retry.hold_after) == (5, 600, 8)
    assert (config.verdicts.fetch, config.verdicts.first_seconds) == (True, 5)
    assert (config.verdicts.max_seconds, config.verdicts.give_up_hours) == (300, 48)
    assert (config.web.listen, config.identifai.webhook_url) == ("", "")
    assert (config.log.format, config.log.level) == ("auto", "info")


def test_the_spool_lies_beside_the_database(file: Path) -> None:
    """The configuration's folder is often not the daemon's to write; a path that is set counts from it."""
    here = os.fsencode(file.parent)
    assert loaded(file, "").audio.spool == here + b"/spool"
    elsewhere = '[store]\nurl = "sqlite:////var/lib/watcher/w.db"\n'
    assert loaded(file, elsewhere).audio.spool == b"/var/lib/watcher/spool"
    assert loaded(file, elsewhere + "[audio]\nmax_parts = 3\n").audio.spool == b"/var/lib/watcher/spool"
    assert loaded(file, elsewhere + '[audio]\nspool = "spool"\n').audio.spool == here + b"/spool"


def test_the_spool_is_no_drop_folder(file: Path) -> None:
    """Whether it was set or not."""
    assert "audio.spool is" in refused(file, '[folders]\ndrop = "spool"\n').message
    assert "audio.spool is" in refused(file, '[audio]\nspool = "drop/spool"\n').message


def test_the_example_is_the_defaults(file: Path) -> None:
    """config.example.toml loads, and says what holds without it."""
    assert loaded(file, EXAMPLE.read_text(encoding="utf-8")) == loaded(file, "")


def test_the_example_has_every_key() -> None:
    """A key that the program knows stands in config.example.toml, below a line that explains it."""
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    found, section = set(), ""
    for above, line in zip(["", *lines], lines, strict=False):
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            found.add((section, line.partition(" = ")[0]))
            assert above.startswith("#"), f"{line} is not explained"
    known = {
        (name, key)
        for name, field in Config.model_fields.items()
        for key in (field.annotation or Config).model_fields
    }
    assert found == known


def test_the_example_names_what_is_always_passed_over() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    names = [name for _, *names in BUILT_IN for name in names] + [example for _, example, _ in SHAPES]
    assert [name for name in names if name.replace("\r", "\\r") not in text] == []


def test_a_configuration_does_not_change(file: Path) -> None:
    config = loaded(file, "")
    with pytest.raises(ValidationError):
        config.limits.in_flight = 2
    with pytest.raises(ValidationError):
        config.limits = config.limits
    with pytest.raises(ValidationError):
        config.path = file  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("[arrivals]\nsettle_seconds = 3", "arrivals.settle_seconds", 3.0),
        ("[arrivals]\nsettle_seconds = 0", "arrivals.settle_seconds", 0.0),
        ('[arrivals]\nmarker = ".done"', "arrivals.marker", ".done"),
        ('[arrivals]\nsidecar = [".xml", ".json"]', "arrivals.sidecar", (".xml", ".json")),
        ('[arrivals]\nignore = ["*.bak", "é?"]', "arrivals.ignore", ("*.bak", "é?")),
        ("[limits]\nwrites = []", "limits.writes", ()),
        ('[limits]\nreads = ["5/10s", "9/hour"]', "limits.reads", (Window(5, 10.0), Window(9, 3600.0))),
        ('[limits]\nreads = ["20/day"]', "limits.reads", (Window(20, 86400.0),)),
        ('[limits]\ntimezone = "Europe/Rome"', "limits.timezone", "Europe/Rome"),
        ('[store]\nurl = "sqlite:////var/lib/w.db"', "store.url", "sqlite:////var/lib/w.db"),
        ('[store]\nurl = "sqlite:////var/lib/w.db"', "store.file", Path("/var/lib/w.db")),
        ('[folders]\ndrop = "/srv/drop"', "folders.drop", b"/srv/drop"),
        ('[folders]\ndrop = "/srv/é/../d"', "folders.drop", b"/srv/d"),
        ('[identifai]\nbase_url = "http://127.0.0.1:8080/"', "identifai.base_url", "http://127.0.0.1:8080"),
        ('[identifai]\nbase_url = "HTTPS://Proxy.Example/Api/"', "identifai.base_url", "https://proxy.example/Api"),
        ('[identifai]\nwebhook_url = "https://me.example/in?x=1"', "identifai.webhook_url", "https://me.example/in?x=1"),
        ('[identifai]\nref_id = "{folder}/{stem} {sha256}"', "identifai.ref_id", "{folder}/{stem} {sha256}"),
        ('[identifai]\nref_id = ""', "identifai.ref_id", ""),
        ('[web]\nlisten = "127.0.0.1:8473"', "web.listen", "127.0.0.1:8473"),
        ('[web]\nlisten = "localhost:8473"', "web.listen", "localhost:8473"),
        ('[web]\nlisten = "0.0.0.0:8473"\npassword_file = "/p"', "web.listen", "0.0.0.0:8473"),
        ('[web]\nhosts = ["a.example", "[::1]:8473"]', "web.hosts", ("a.example", "[::1]:8473")),
        ('[web]\nlisten = "[::1]:8473"', "web.listen", "[::1]:8473"),
        ('\ufeff[log]\nlevel = "debug"', "log.level", "debug"),
    ],
)  # fmt: skip
def test_a_good_value_is_taken(file: Path, text: str, key: str, value: object) -> None:
    config = loaded(file, text)
    section, name = key.split(".")
    found = getattr(getattr(config, section), name)
    assert (found, type(found)) == (value, type(value))


def test_paths_are_relative_to_the_file_and_not_to_where_it_is_read_from(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = file.parent / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    file.write_text('[folders]\ndrop = "in"\n[identifai]\napi_key_file = "../k"\n')
    config = load(Path("../config.toml"))
    assert config.folders.drop == os.fsencode(file.parent / "in")
    assert config.identifai.api_key_file == file.parent.parent / "k"
    assert config.path == file


# What is wrong

WINDOW = '"N/second", "N/minute", "N/hour", "N/day" or "N/10s" with N of 1 or more'
URL = "http:// or https:// and a host, without a user name"
ENDING = 'an extension that starts with a dot and has no slash, such as ".xml"'
PATTERN = 'a pattern for one name, without a slash, that does not match every name, such as "*.bak"'
SERVER = '"postgresql+psycopg://USER@HOST/DATABASE"'
STORE = '"sqlite:///" and the path of a file, such as "sqlite:///watcher.db"'
PLAIN = f"{URL}, and without control characters"
ONE_LINE = "text on one line, without control characters"
FIELDS = "text with only the fields {id} {stem} {folder} {sha256}"
LISTEN = '"" or host:port, such as "127.0.0.1:8473"'
PASSWORD = 'web.password_file beside it, or a loopback address ("127.0.0.1:8473")'
HOST = 'a name as a browser asks for it, such as "watcher.example.org" or "10.0.0.5:8473"'
YEAR = "at most 31,536,000"
SECTIONS = (
    "the sections are folders, store, identifai, limits, arrivals, audio, retry, verdicts, web, retention, "
    "report, notify, privacy, log"
)
TAKEN = "what is filed there would be taken for a new arrival"
LANDS = "folders.drop lies inside it, so what is filed could land there"
MIXED = "their receipts could not be told apart"


@pytest.mark.parametrize(
    ("rule", "key", "found", "expected"),
    [
        ('names = "*.x", codec = "opus"', "codec", '"opus"', "one of "),
        ('names = "*", codec = "mulaw"', "names", '"*"', "a pattern for one name"),
        ('names = "*.gsm", codec = "gsm", rate = 16000', "rate", "16000", "8000, as gsm always has"),
        ('names = "*.g722", codec = "g722"', "rate", "8000", "16000, as g722 always has"),
        ('names = "*.g729", codec = "g729", channels = 2', "channels", "2", "1, as g729 always has"),
        ('names = "*.x", codec = "pcm", rate = 0', "rate", "0", "at least 1,000"),
        ('codec = "pcm"', "names", "", "names"),
    ],
)
def test_headerless_recordings_are_described_fully(
    file: Path, rule: str, key: str, found: str, expected: str
) -> None:
    """A wrong description makes noise, which is paid for: what cannot be is an error that names the key."""
    file.write_text(f"[audio]\nraw = [{{ {rule} }}]\n")
    with pytest.raises(ConfigError) as error:
        load(file)
    assert f"audio.raw[0].{key}" in error.value.message
    assert found in error.value.message
    assert expected in error.value.message


def test_the_first_rule_that_names_a_file_says_what_it_is(file: Path) -> None:
    """In either case, wherever it lies."""
    rules = '{ names = "*.ulaw", codec = "mulaw" }, { names = "*.u*", codec = "pcm", rate = 16000 }'
    file.write_text(f"[audio]\nraw = [{rules}]\n")
    audio = load(file).audio
    assert [(rule.codec, rule.rate) for name in (b"a/B.ULAW", b"c.ul") if (rule := audio.raw_for(name))] == [
        ("mulaw", 8000),
        ("pcm", 16000),
    ]
    assert audio.raw_for(b"x.ulaw/a.wav") is None


def test_channels_are_called_differently(file: Path) -> None:
    """Who reads a receipt must know which one is meant."""
    file.write_text('[audio]\nchannel_names = ["agent", "agent"]\n')
    with pytest.raises(ConfigError, match="expected names that differ"):
        load(file)
    file.write_text('[audio]\nchannel_names = ["agent", "customer"]\n')
    audio = load(file).audio
    assert [audio.channel_name(channel) for channel in (None, 0, 1, 2)] == [None, "agent", "customer", None]


def test_channels_are_taken_apart_only_where_recordings_are_prepared(file: Path) -> None:
    """Else the key would be obeyed by nothing."""
    file.write_text('[audio]\nprepare = false\nchannels = "apart"\n')
    with pytest.raises(ConfigError, match=r'audio.channels is "apart"; expected "together" while audio.prepare'):
        load(file)


@pytest.mark.parametrize(
    ("settings", "key", "found"),
    [
        (
            "recordings_days = 30\nreceipts_days = 29",
            "receipts_days",
            "29; expected 0, or 30 or more, as recordings_days",
        ),
        (
            "recordings_days = 30\nhistory_days = 1",
            "history_days",
            "1; expected 0, or 30 or more, as recordings_days",
        ),
        (
            "receipts_days = 9\nhistory_days = 8.5",
            "history_days",
            "8.5; expected 0, or 9 or more, as receipts_days",
        ),
    ],
)
def test_what_tells_of_a_recording_is_kept_as_long(file: Path, settings: str, key: str, found: str) -> None:
    """A receipt never goes before its recording, nor a row before either: such a number could mean nothing."""
    error = refused(file, f"[retention]\n{settings}\n")
    assert error.message == f"{file}: retention.{key} is {found}: what tells of it stays as long (at line 3)"


@pytest.mark.parametrize("name", ["recordings_days", "receipts_days", "history_days"])
def test_without_verdicts_nothing_would_ever_be_removed(file: Path, name: str) -> None:
    """Everything stays until its verdict is known: where none is fetched, the number is an error."""
    error = refused(file, f"[verdicts]\nfetch = false\n[retention]\n{name} = 30\n")
    assert f"retention.{name} is 30; expected 0 while verdicts.fetch is false" in error.message


def test_retention_may_begin_anywhere(file: Path) -> None:
    """Receipts or rows alone may have a number: of what people have collected; parts of a day are days, too."""
    file.write_text("[retention]\nreceipts_days = 0.5\nhistory_days = 0.5\n")
    assert load(file).retention.receipts_days == 0.5
    file.write_text("[retention]\nhistory_days = 7\n")
    assert not load(file).retention.keeps_all


@pytest.mark.parametrize(
    ("key", "written", "found", "expected"),
    [
        ("arrivals.incomplete_minutes", "0", "0", "more than 0"),
        ("audio.oversize", '"squeeze"', '"squeeze"', 'one of "shrink", "split" or "fail"'),
        ("audio.channels", '"left"', '"left"', 'one of "together", "apart", "first" or "second"'),
        ("audio.channel_names", '[""]', '""', "a name, on one line"),
        ("audio.join", '"all"', '"all"', 'one of "any" or "majority"'),
        ("audio.min_seconds", "-1", "-1", "at least 0"),
        ("audio.max_parts", "0", "0", "at least 1"),
        ("audio.max_parts", "501", "501", "at most 500"),
        ("audio.spool_bytes", "0", "0", "at least 1"),
        ("audio.raw", '"*.ulaw"', '"*.ulaw"', "a list in [ ]"),
        ("arrivals.ignore", '["*"]', '"*"', PATTERN),
        ("arrivals.ignore", '["a/b"]', '"a/b"', PATTERN),
        ("arrivals.ignore", '[""]', '""', PATTERN),
        ("arrivals.ignore", '"*.bak"', '"*.bak"', "a list in [ ]"),
        ("arrivals.marker", '"done"', '"done"', ENDING),
        ("arrivals.marker", '"./x"', '"./x"', ENDING),
        ("arrivals.marker", '"."', '"."', ENDING),
        ("arrivals.marker", '".JSON"', '".JSON"', "an extension other than \".json\", which is the receipt's"),
        ("arrivals.proof", "1", "1", "true or false"),
        ("arrivals.proof", '"true"', '"true"', "true or false"),
        ("arrivals.rescan_seconds", "0", "0", "more than 0"),
        ("arrivals.rescan_seconds", "1e300", "1e+300", YEAR),
        ("arrivals.settle_seconds", "-1", "-1", "at least 0"),
        ("arrivals.settle_seconds", "true", "true", "a number"),
        ("arrivals.settle_seconds", '"2"', '"2"', "a number"),
        ("arrivals.settle_seconds", "nan", "NaN", "a number"),
        ("arrivals.settle_seconds", "inf", "Infinity", "a number"),
        ("arrivals.settle_seconds", "2026-01-01", '"2026-01-01"', "a number"),
        ("arrivals.sidecar", '["xml"]', '"xml"', ENDING),
        ("arrivals.sidecar", "[1]", "1", "text in quotes"),
        ("arrivals.watch", '"poll"', '"poll"', 'one of "auto", "events" or "polling"'),
        ("folders.drop", '""', '""', "a path in quotes"),
        ("folders.drop", "7", "7", "a path in quotes"),
        ("folders.drop", '"a\\u0000b"', '"a\\u0000b"', "a path in quotes"),
        ("identifai.account", '" "', '" "', "a name, on one line"),
        ("identifai.account", '"a\\nb"', '"a\\nb"', "a name, on one line"),
        ("identifai.api_key_file", "false", "false", "a path in quotes"),
        ("identifai.base_url", '"backend.identifai.net"', '"backend.identifai.net"', URL),
        ("identifai.base_url", '"ftp://host"', '"ftp://host"', URL),
        ("identifai.base_url", '"https://"', '"https://"', URL),
        ("identifai.base_url", '"https://host:99999"', '"https://host:99999"', URL),
        ("identifai.base_url", '"https://[::1"', '"https://[::1"', URL),
        ("identifai.base_url", '"https://ho st"', '"https://ho st"', URL),
        ("identifai.base_url", '""', '""', URL),
        ("identifai.base_url", '"https://h/?a=1"', '"https://h/?a=1"',
         "http:// or https://, a host and perhaps a path, nothing after it"),
        ("identifai.base_url", '"https://me:pw/@host"', '"https://…@host"', URL),
        ("identifai.connect_timeout_seconds", "0", "0", "more than 0"),
        ("identifai.deadline_seconds", "-5.5", "-5.5", "more than 0"),
        ("identifai.in_doubt", '"ask"', '"ask"', 'one of "resubmit" or "hold"'),
        ("identifai.no_cache", '"yes"', '"yes"', "true or false"),
        ("identifai.ref_id", '"{name}"', '"{name}"', FIELDS),
        ("identifai.ref_id", '"{id"', '"{id"', FIELDS),
        ("identifai.ref_id", '"{}"', '"{}"', FIELDS),
        ("identifai.ref_id", '"{id!r}"', '"{id!r}"', FIELDS),
        ("identifai.ref_id", '"{id:>9}"', '"{id:>9}"', FIELDS),
        ("identifai.ref_id", '"{id.x}"', '"{id.x}"', FIELDS),
        ("identifai.ref_id", r'"{id}\r\nX: 1"', r'"{id}\r\nX: 1"', ONE_LINE),
        ("identifai.ref_id", r'"a\u0000b"', r'"a\u0000b"', ONE_LINE),
        ("identifai.ref_id", r'"a\u001b[31mb"', r'"a\u001b[31mb"', ONE_LINE),
        ("identifai.ref_id", r'"a\u2028b"', r'"a\xe2\x80\xa8b"', ONE_LINE),
        ("identifai.upload_name", r'"id\r\n"', r'"id\r\n"', 'one of "id" or "original"'),
        ("identifai.base_url", r'"https://a.example\r\n"', r'"https://a.example\r\n"', PLAIN),
        ("identifai.webhook_url", r'"https://a.example/\tb"', r'"https://a.example/\tb"', PLAIN),
        ("identifai.upload_name", '"Original"', '"Original"', 'one of "id" or "original"'),
        ("identifai.webhook_url", '"me.example"', '"me.example"', URL),
        ("limits.in_flight", "0", "0", "at least 1"),
        ("limits.in_flight", "1.0", "1.0", "a whole number"),
        ("limits.in_flight", "true", "true", "a whole number"),
        ("limits.max_upload_bytes", "0", "0", "at least 1"),
        ("limits.per_day", "-1", "-1", "at least 0"),
        ("limits.per_month", '"9"', '"9"', "a whole number"),
        ("limits.reads", '["2 per second"]', '"2 per second"', WINDOW),
        ("limits.reads", "[2]", "2", WINDOW),
        ("limits.reads", '["5/0s"]', '"5/0s"', WINDOW),
        ("limits.reads", '["5/99999999s"]', '"5/99999999s"', WINDOW),
        ("limits.timezone", '"Europe/Room"', '"Europe/Room"', '"" or a time zone, such as "Europe/Rome"'),
        ("limits.timezone", '"../x"', '"../x"', '"" or a time zone, such as "Europe/Rome"'),
        ("limits.timezone", '"Europe"', '"Europe"', '"" or a time zone, such as "Europe/Rome"'),
        ("limits.writes", '["0/second"]', '"0/second"', WINDOW),
        ("limits.writes", '["1/week"]', '"1/week"', WINDOW),
        ("limits.writes", '"1/second"', '"1/second"', "a list in [ ]"),
        ("log.format", '"text"', '"text"', 'one of "auto", "console" or "json"'),
        ("log.level", '"INFO"', '"INFO"', 'one of "debug", "info", "warning" or "error"'),
        ("retention.history_days", "true", "true", "a number"),
        ("retention.receipts_days", "40_000", "40000", "at most 36,500"),
        ("retention.recordings_days", "-1", "-1", "at least 0"),
        ("retention.recordings_days", '"30d"', '"30d"', "a number"),
        ("retry.first_seconds", "0", "0", "more than 0"),
        ("retry.hold_after", "0", "0", "at least 1"),
        ("retry.max_seconds", "3", "3", "first_seconds (5) or more"),
        ("store.url", '"watcher.db"', '"watcher.db"', STORE),
        ("store.url", '"sqlite://"', '"sqlite://"', STORE),
        ("store.url", '"sqlite:///"', '"sqlite:///"', STORE),
        ("store.url", '"sqlite:///:memory:"', '"sqlite:///:memory:"', STORE),
        ("store.url", '"sqlite:///w.db?mode=ro"', '"sqlite:///w.db?mode=ro"', STORE),
        ("store.url", '"mysql://host/db"', '"mysql://host/db"', STORE),
        ("store.url", '"postgresql://u:pw@h/db"', '"postgresql://…@h/db"', SERVER),
        ("store.url", '"postgresql+psycopg2://u:pw@h/db"', '"postgresql+psycopg2://…@h/db"', SERVER),
        ("store.url", '"postgresql+psycopg://u:pw@h/"', '"postgresql+psycopg://…@h/"',
         f"{SERVER}, with the name of the database at its end"),
        ("verdicts.fetch", "0", "0", "true or false"),
        ("verdicts.give_up_hours", "0", "0", "more than 0"),
        ("verdicts.max_seconds", "4.5", "4.5", "first_seconds (5) or more"),
        ("web.listen", '"8473"', '"8473"', LISTEN),
        ("web.listen", '"host:70000"', '"host:70000"', LISTEN),
        ("web.listen", '":8473"', '":8473"', LISTEN),
        ("web.listen", '"0.0.0.0:8473"', '"0.0.0.0:8473", which other machines may reach', PASSWORD),
        ("web.listen", '"[::]:8473"', '"[::]:8473", which other machines may reach', PASSWORD),
        ("web.listen", '"127.0.0.1.example:1"', '"127.0.0.1.example:1", which other machines may reach', PASSWORD),
        ("web.hosts", '["http://a.example"]', '"http://a.example"', HOST),
        ("web.hosts", '["a.example/"]', '"a.example/"', HOST),
        ("web.hosts", '["*"]', '"*"', HOST),
        ("web.hosts", '[""]', '""', HOST),
        ("web.hosts", '["a.example:70000"]', '"a.example:70000"', HOST),
        ("web.hosts", '"a.example"', '"a.example"', "a list in [ ]"),
        ("web.password_file", "true", "true", "a path in quotes"),
        ("web.read_only", "1", "1", "true or false"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_clear_line(file: Path, key: str, written: str, found: str, expected: str) -> None:
    """The line names the file, the key, what was found and what was expected; the hint says what to do."""
    section, name = key.split(".")
    error = refused(file, f"[{section}]\n{name} = {written}\n")
    shown = f"{key}[0]" if written.startswith("[") else key
    assert error.message == f"{file}: {shown} is {found}; expected {expected} (at line 2)"
    assert error.hint == "correct the file; config.example.toml explains every key"
    assert error.exit_code == Exit.CONFIG


@pytest.mark.parametrize("blanks", [" " * 2_000, "[" + " " * 2_000, "x" + " " * 50_000, '"' * 50_000])
def test_a_line_of_blanks_takes_no_time(file: Path, blanks: str) -> None:
    """The place of a wrong value is looked for in time that grows with the file alone."""
    started = time.process_time()
    error = refused(file, f"note = '''\n{blanks}\n'''\n[limits]\nin_flight = 0\n")
    assert time.process_time() - started < 1.0
    assert "limits.in_flight" in error.message


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[arrivals]\nsettle_second=1", "arrivals.settle_second is not a known key; did you mean settle_seconds?"),
        ("[arrivals]\nin_flight = 1", "arrivals.in_flight is not a known key; did you mean limits.in_flight?"),
        ("in_flight = 1", "in_flight is not a known key; did you mean limits.in_flight?"),
        ("[identifai]\nAPI_KEY = 1", "identifai.API_KEY is not a known key; did you mean api_key_file?"),
        ("[Limits]", "[Limits] is not a known section; did you mean [limits]?"),
        ("[log]\nqqq = 1", "log.qqq is not a known key; the keys of [log] are format, level"),
        ("qqq = 1", "qqq is not a known key; every key belongs to a section"),
        ('path = "x"', "path is not a known key; every key belongs to a section"),
        ("[folder]", "[folder] is not a known section; did you mean [folders]?"),
        ("[qqq]", f"[qqq] is not a known section; {SECTIONS}"),
        ("limits = 5", "limits is 5; expected a table, [limits]"),
        ("[[limits]]", "limits is [{}]; expected a table, [limits]"),
        ('["a\\nb"]', f"[a\\x0ab] is not a known section; {SECTIONS}"),
    ],
)  # fmt: skip
def test_an_unknown_name_gets_the_nearest_known_one(file: Path, text: str, line: str) -> None:
    at = "" if "\\n" in text else f" (at line {len(text.splitlines())})"
    assert refused(file, text).message == f"{file}: {line}{at}"


def test_all_problems_come_in_one_error(file: Path) -> None:
    error = refused(file, "[limits]\nin_flight = 0\nper_day = -1\n[arrivals]\nsettle = 1\n")
    lines = error.message.splitlines()
    assert [line.split(": ")[1].split()[0] for line in lines] == [
        "limits.in_flight",
        "limits.per_day",
        "arrivals.settle",
    ]


def test_a_secret_in_the_wrong_place_is_not_repeated(file: Path) -> None:
    """Neither a key written into the file nor a password in a URL shows in the error or its traceback."""
    error = refused(
        file,
        f'[identifai]\napi_key = "{SECRET}"\nbase_url = "https://u:{SECRET}@h"\n'
        f'[store]\nurl = "postgresql://u:{SECRET}@h/db"\n',
    )
    assert "identifai.api_key is not a known key; did you mean api_key_file?" in error.message
    assert SECRET not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    ("folders", "key", "found", "other", "why"),
    [
        ('done = "drop"', "done", "drop", "drop", TAKEN),
        ('done = "drop/done"', "done", "drop/done", "drop", TAKEN),
        ('failed = "x/../drop/f"', "failed", "x/../drop/f", "drop", TAKEN),
        ('failed = "link/f"', "failed", "link/f", "drop", TAKEN),
        ('drop = "."', "done", "done", "drop", TAKEN),
        ('drop = "done/in"', "done", "done", "drop", LANDS),
        ('failed = "done/failed"', "failed", "done/failed", "done", MIXED),
    ],
)
def test_the_folders_lie_apart(file: Path, folders: str, key: str, found: str, other: str, why: str) -> None:
    """None is another or lies inside another, also by way of a link; the error gives the reason."""
    (file.parent / "drop").mkdir()
    (file.parent / "link").symlink_to("drop")
    first = refused(file, f"[folders]\n{folders}\n").message.splitlines()[0]
    line = f'{file}: folders.{key} is "{found}"; expected a folder apart from folders.{other} ('
    assert first.startswith(line)
    assert first.removesuffix(" (at line 2)").endswith(f"): {why}")


def test_folders_whose_names_begin_alike_are_apart(file: Path) -> None:
    config = loaded(file, '[folders]\ndrop = "in"\ndone = "in-done"\nfailed = "in-failed"\n')
    assert config.folders.done == os.fsencode(file.parent / "in-done")


def test_nothing_of_ours_lies_in_the_drop_folder(file: Path) -> None:
    """The database, the key and the configuration would be submitted as recordings."""
    error = refused(
        file, '[folders]\ndrop = "d"\n[store]\nurl = "sqlite:///d/w.db"\n[identifai]\napi_key_file = "d/k"\n'
    )
    where = "expected a place outside folders.drop, where all is submitted"
    assert error.message.splitlines() == [
        f'{file}: store.url is "{file.parent}/d/w.db"; {where} (at line 4)',
        f'{file}: identifai.api_key_file is "{file.parent}/d/k"; {where} (at line 6)',
    ]


@pytest.mark.parametrize("folder", ["done", "failed"])
def test_the_key_lies_where_nobody_reads_what_was_filed(file: Path, folder: str) -> None:
    """done/ and failed/ are read by whoever drops recordings; by way of a link as well."""
    (file.parent / folder).mkdir()
    (file.parent / "link").symlink_to(folder)
    for place in (folder, f"{folder}/below", "link"):
        error = refused(file, f'[identifai]\napi_key_file = "{place}/k"\n')
        where = f"expected a place outside folders.{folder}, which others read (at line 2)"
        assert error.message == f'{file}: identifai.api_key_file is "{file.parent}/{place}/k"; {where}'


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[limits]\nin_flight = \n", "is not valid TOML: Invalid value (at line 2, column 13)"),
        (b"[log]\n[log]\n", "is not valid TOML: Cannot declare ('log',) twice (at line 2, column 5)"),
        (b"[log]\n# caf\xe9\n", "is not UTF-8: byte 0xe9 in line 2"),
    ],
)
def test_a_file_that_is_no_toml_is_told_with_its_place(file: Path, content: bytes, problem: str) -> None:
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert caught.value.message == f"{file} {problem}"
    assert caught.value.hint


def test_a_file_that_is_not_there_or_no_file_is_told(file: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load(file)
    file.mkdir()
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(file)


@contextmanager
def unprivileged() -> Iterator[None]:
    """As somebody who is not root: the permissions of the disk hold."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_file_that_may_not_be_read_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where its folder is closed: it is not taken for missing."""
    locked = file.parent / "locked"
    locked.mkdir()
    (locked / "config.toml").touch()
    monkeypatch.setattr(loading, "SYSTEM_CONFIG", locked / "config.toml")
    monkeypatch.chdir("/")
    locked.chmod(0)
    with unprivileged(), pytest.raises(ConfigError) as caught:
        load(find_config(None, {}))
    locked.chmod(0o700)
    assert caught.value.message == f"{locked}/config.toml cannot be read: Permission denied"
    assert caught.value.hint


# Which file


def test_the_file_is_looked_for_in_four_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--config, else $WATCHER_CONFIG, else ./config.toml, else /etc/watcher/config.toml."""
    system, here = tmp_path / "etc.toml", tmp_path / "config.toml"
    monkeypatch.setattr(loading, "SYSTEM_CONFIG", system)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        find_config(None, {"WATCHER_CONFIG": ""})
    assert all(place in caught.value.message for place in ("--config", "$WATCHER_CONFIG", str(here), str(system)))
    assert "copy config.example.toml" in caught.value.hint
    system.touch()
    assert find_config(None, {}) == system
    here.touch()
    assert find_config(None, {}) == here
    assert find_config(None, {"WATCHER_CONFIG": "a.toml"}) == tmp_path / "a.toml"
    assert find_config("b.toml", {"WATCHER_CONFIG": "a.toml"}) == tmp_path / "b.toml"


# The key


def key_error(config: Config, environ: dict[str, str]) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read_key(config, environ)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert caught.value.hint
    assert caught.value.exit_code == Exit.CONFIG
    return caught.value


def test_the_key_is_taken_from_the_first_of_three_places(file: Path) -> None:
    """$IDENTIFAI_API_KEY, else systemd's credential, else the key file; without the white space around it."""
    config = loaded(file, "")
    credentials = file.parent / "credentials"
    environ = {"CREDENTIALS_DIRECTORY": str(credentials), "IDENTIFAI_API_KEY": " \n"}
    missing = key_error(config, environ)
    for place in ("$IDENTIFAI_API_KEY", "systemd's credential", str(config.identifai.api_key_file)):
        assert place in missing.message
    config.identifai.api_key_file.write_text(f"{SECRET}-file\r\n")
    assert read_key(config, environ).reveal() == f"{SECRET}-file"
    credentials.mkdir()
    (credentials / "identifai.key").write_text(f"{SECRET}-credential")
    assert read_key(config, environ).reveal() == f"{SECRET}-credential"
    key = read_key(config, environ | {"IDENTIFAI_API_KEY": f" {SECRET}\n"})
    assert (key.reveal(), key.source) == (SECRET, "$IDENTIFAI_API_KEY")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (f"{SECRET}\n{SECRET}\n".encode(), "has more than one line"),
        (f"{SECRET}é".encode(), "has characters that are not printable ASCII"),
        (f"{SECRET}\0".encode(), "has characters that are not printable ASCII"),
        (SECRET.encode("utf-16"), "has characters that are not printable ASCII"),
        (SECRET.encode() * 500, "is longer than 4,096 bytes"),
    ],
)
def test_what_is_no_key_is_refused_and_not_repeated(file: Path, content: bytes, problem: str) -> None:
    config = loaded(file, "")
    config.identifai.api_key_file.write_bytes(content)
    assert key_error(config, {}).message == f"the API key in {config.identifai.api_key_file} {problem}"


def test_a_wrong_key_in_the_environment_is_refused(file: Path) -> None:
    error = key_error(loaded(file, ""), {"IDENTIFAI_API_KEY": f"{SECRET}\udc80"})
    assert error.message == "the API key in $IDENTIFAI_API_KEY has characters that are not printable ASCII"


def test_a_key_file_that_can_not_be_read_is_told(file: Path) -> None:
    config = loaded(file, "")
    config.identifai.api_key_file.mkdir()
    assert "cannot be read: Is a directory" in key_error(config, {}).message


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o604])
def test_a_key_file_open_to_others_is_warned_of(file: Path, mode: int) -> None:
    """A warning with its remedy, and no refusal."""
    config = loaded(file, "")
    path = config.identifai.api_key_file
    path.write_text(SECRET)
    path.chmod(mode)
    warning = f"{path} is open to others (mode {mode:04o}); run: chmod 600 {path}"
    assert read_key(config, {}).warning == (warning if mode & 0o077 else "")


def test_the_key_shows_itself_to_nobody_by_accident() -> None:
    key = Key(SECRET, "here")
    for shown in (repr(key), str(key), f"{key}", f"{key!r:>30}", f"{key:>30}", "%s" % key, repr([key])):  # noqa: UP031
        assert SECRET not in shown
        assert "<key>" in shown
    assert not hasattr(key, "__dict__")
    text: object = SECRET
    assert key != text
    assert key != Key(SECRET, "here")
    for spread in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            spread(key)


def test_the_configuration_holds_no_key(file: Path) -> None:
    config = loaded(file, "")
    config.identifai.api_key_file.write_text(SECRET)
    read_key(config, {})
    assert SECRET not in repr(config)


# What is passed over


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        (b".call.wav.Xy12Zb", ".*"),
        (b"._call.wav", "._*"),
        (b".DS_Store", ".DS_Store"),
        (b".ds_store", ".DS_Store"),
        (b"call.wav~", "*~"),
        (b"call.wav.filepart", "*.filepart"),
        (b"call.WAV.PART", "*.part"),
        (b"call.!ut", "*.!ut"),
        (b"thumbs.DB", "Thumbs.db"),
        (b"a/@eaDir/call.wav", "@eaDir"),
        (b"lost+found/call.wav", "lost+found"),
        (b"a\nb.tmp", "*.tmp"),
        (b"\xff\xfe.tmp", "*.tmp"),
        (b"call.bak", "*.bak"),
        (b"x/old\xc3\xa9/call.wav", "old?"),
        (b"call.wav", None),
        (b"call.BAK", None),
        (b"call.partial.wav", None),
        (b"tmp/part/call~1.wav", None),
        (b"\xff.wav", None),
        (b"a.tmp\n", None),
    ],
)
def test_temporary_names_are_told_with_their_pattern(name: bytes, pattern: str | None) -> None:
    """Built-in patterns take either case, added ones are exact; a folder's name covers what lies below it."""
    assert Ignore(["*.bak", "old?"]).matching(name) == pattern


def test_every_built_in_pattern_matches_something() -> None:
    ignore = Ignore()
    patterns = [name for _, *names in BUILT_IN for name in names] + [example for _, example, _ in SHAPES]
    found = {pattern: ignore.matching(pattern.replace("*", "x").encode()) for pattern in patterns}
    assert {pattern for pattern, by in found.items() if by != pattern} == set()
    assert all(map(ignore.source, patterns))


def test_a_hundred_thousand_names_are_matched_fast() -> None:
    """A full look at a large folder is not slowed down: well under a second, on a slow machine too."""
    ignore = Ignore(["*.bak", "archive"])
    names = [b"2026-01-01_+390123456_%06d.wav" % number for number in range(100_000)]
    start = time.process_time()
    assert not any(map(ignore.matching, names))
    assert time.process_time() - start < 1.5


def test_a_database_on_a_server_is_named_by_its_address(file: Path) -> None:
    """With psycopg installed it is taken as it is; beside the spool lies what stands for it on this machine."""
    url = f"postgresql+psycopg://watcher:{SECRET}@db.example/watcher?sslmode=require"
    config = loaded(file, f'[store]\nurl = "{url}"\n')
    assert config.store.url == url
    assert config.books == file.parent / "watcher.node"


def test_a_database_on_a_server_needs_the_extra(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, one clear error says what to install."""
    monkeypatch.setattr("watcher.config.values.importlib.util.find_spec", lambda _: None)
    error = refused(file, f'[store]\nurl = "postgresql+psycopg://watcher:{SECRET}@db.example/watcher"\n')
    assert "pip install 'identifai-watcher[postgresql]'" in error.message
    assert SECRET not in str(error)


def test_what_stands_for_a_server_s_database_is_no_drop_folder_s_either(file: Path) -> None:
    """It lies beside the spool, which is named: store.url is where it is."""
    error = refused(
        file, '[store]\nurl = "postgresql+psycopg://u@h/db"\n[folders]\ndrop = "in"\n[audio]\nspool = "in/spool"\n'
    )
    assert "audio.spool is " in error.message
    assert "store.url" not in error.message
