"""`report`: what was submitted and what came back, as CSV, as lines of JSON, and as one page."""

import csv
import io
import json
import os
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import count
from pathlib import Path

import pytest
from jinja2 import DictLoader

from tests.conftest import MakePlace
from tests.places import Place, speech
from tests.report.sites import HOSTILE, drop_hostile, drop_many, refuse
from watcher.cli import main
from watcher.errors import Exit, UsageError
from watcher.report.charts import Chart, draw
from watcher.report.page import make_environment
from watcher.report.spreadsheet import COLUMNS, as_text
from watcher.sandbox import Sandbox
from watcher.views.context import open_to_read
from watcher.views.period import Period, read_period
from watcher.views.report import read_report
from watcher.views.report_lines import Outcome

NOW = 1_700_000_000.0  # 2023-11-14T22:13:20Z


def report(place: Place, *options: str, name: str = "out") -> bytes:
    """What `report` writes into a file."""
    output = place.root / name
    assert main(["report", "--config", str(place.config_path), "--output", str(output), *options]) == Exit.WELL
    return output.read_bytes()


def rows_of(data: bytes, separator: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), delimiter=separator))


@dataclass
class Page(HTMLParser):
    """What a browser makes of a page."""

    text: list[str] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def names(self) -> Counter[str]:
        return Counter(tag for tag, _ in self.tags)


def page_of(data: bytes) -> Page:
    page = Page()
    page.feed(data.decode())
    return page


@pytest.fixture
def busy(make_place: MakePlace, service: Sandbox) -> Place:
    """Mixed recordings, each with its fate; two were refused."""
    place = make_place(arrivals={"incomplete_minutes": 0.01})
    refuse(service, 2)
    drop_many(place, 16)
    place.run_once(verdicts=True)
    return place


def test_csv_has_a_row_for_each_recording(busy: Place) -> None:
    """UTF-8 with its mark, CRLF, the columns named; what each row says is what `list --json` says."""
    data = report(busy, name="report.csv")

    assert data.startswith(b"\xef\xbb\xbfid,path,state,verdict,confidence,")
    assert data.count(b"\r\n") == data.count(b"\n") == 18
    rows = {row["path"]: row for row in rows_of(data)}
    items = busy.items()
    assert rows.keys() == items.keys()
    for path, item in items.items():
        row, verdict = rows[path], busy.verdict(path)
        assert (row["id"], row["state"], row["size"]) == (item.id, item.state, str(item.size))
        assert row["identifier"] == (item.identifier or "")
        assert row["verdict"] == (verdict.classification if verdict and verdict.classification else "")
        assert row["error_code"] == (item.fault.code if item.fault else "")
    assert {row["verdict"] for row in rows.values()} >= {"human", "artificial", "inconclusive"}
    assert set(rows_of(report(busy, "--separator", ";"), ";")[0]) == set(COLUMNS)
    assert rows_of(report(busy, "--separator", "tab"), "\t")[0]["path"]


def test_json_is_what_list_prints(busy: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """One object a line, for the same recordings, oldest first; on standard output too."""
    main(["list", "--config", str(busy.config_path), "--json"])
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    lines = report(busy, name="report.json").decode().splitlines()
    assert [json.loads(line) for line in lines] == listed


def test_a_page_says_which_are_artificial_and_what_to_do(busy: Place) -> None:
    """Artificial ones first, then the failed ones, each with its reason and what to do; it needs nothing else."""
    data = report(busy, name="report.html")
    page, text = page_of(data), data.decode()

    for path, item in busy.items().items():
        assert path in text
        if item.fault is not None:
            assert item.fault.hint.split(".")[0] in text.replace("&#39;", "'").replace("&#34;", '"')
    assert 0 < text.index('id="artificial"') < text.index('id="failed"') < text.index('id="others"')
    assert not page.names.keys() & {"script", "img", "link", "iframe", "object", "form", "base"}
    assert not [found for found in re.findall(r"(?:https?:)?//[a-z]|@import|url\((?!#)", text) if found]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "default-src 'none'" in text


def test_each_chart_has_its_words_and_its_numbers(busy: Place) -> None:
    """A title, a description, and a table in a closed <details> with the same numbers."""
    page = page_of(report(busy, name="report.html"))
    charts = [attributes for tag, attributes in page.tags if tag == "svg" and attributes.get("role") == "img"]

    assert len(charts) == 6
    ids = {attributes["id"]: tag for tag, attributes in page.tags if attributes.get("id")}
    for chart in charts:
        title, description = (chart["aria-labelledby"] or "").split()
        assert (ids[title], ids[description]) == ("title", "desc")
    details = [attributes for tag, attributes in page.tags if tag == "details"]
    assert len(details) >= len(charts)
    assert not any("open" in attributes for attributes in details)
    with open_to_read(busy.config, busy.clock) as context:
        found = read_report(context, Period())
    verdicts = page.text.index("The numbers of “Verdicts over time”")
    artificial = found.outcomes[Outcome.ARTIFICIAL]
    assert artificial == sum(busy.verdict(path) is not None and is_artificial(busy, path) for path in busy.items())
    assert str(artificial) in [said.strip() for said in page.text[verdicts : verdicts + 80]]


def is_artificial(place: Place, path: str) -> bool:
    verdict = place.verdict(path)
    return verdict is not None and verdict.classification == "artificial"


@pytest.mark.parametrize("hides", [False, True], ids=["shown", "hidden"])
def test_no_name_does_harm_in_a_report(make_place: MakePlace, *, hides: bool) -> None:
    """Markup is text, formulas are text, what a terminal would obey is escaped, and no name ends a row."""
    place = make_place(privacy={"names": "hide" if hides else "show"})
    drop_hostile(place)
    place.run_once(verdicts=True)

    table, lines, page = (report(place, name=f"out.{kind}") for kind in ("csv", "json", "html"))

    rows = rows_of(table)
    number = len(HOSTILE) + 1
    assert len(rows) == number == len(lines.splitlines())
    for row in rows:
        assert set(row) == set(COLUMNS), "a name ended its row"
        for name, value in row.items():
            if name not in ("size", "confidence", "machine_confidence", "attempts"):
                assert not value.lstrip().startswith(("=", "+", "-", "@", "\t", "\r", "\uff1d")), (name, value)
    for data in (table, lines, page):
        assert all(c.isprintable() or c in "\r\n\ufeff" for c in data.decode()), "a control character"
    found = page_of(page)
    assert not found.names.keys() & {"script", "img", "textarea", "b1"}
    assert "alert(1)" not in "".join(json.dumps(attributes) for _, attributes in found.tags)
    if hides:
        for hostile in [*HOSTILE.values(), b"=1+1</b>"]:
            for part in {hostile, os.path.splitext(hostile)[0]}:
                told = part.decode("utf-8", "backslashreplace").strip().encode()
                assert not [data for data in (table, lines, page) if told in data], told
        assert all(json.loads(line)["path"] is None for line in lines.splitlines())
        assert all(json.loads(line)["id"] in page.decode() for line in lines.splitlines())
    else:
        assert "&lt;script&gt;alert(1)&lt;/script&gt;.wav" in page.decode()
        assert {json.loads(line)["path"] for line in lines.splitlines()} >= {"+491701234567.wav"}
        assert {row["path"] for row in rows} >= {"'+491701234567.wav", "'-2+3+cmd.wav", "'@SUM(1,1).wav"}


def test_an_apostrophe_goes_before_text_that_would_run_and_before_nothing_else() -> None:
    """By the column's type: numbers are never touched, whatever their signs."""
    texts = ["=1", "+1", "-1", "@a", " =1", "\t=1", "\uff1d1", "a=1", "1", "", "'=1"]
    expected = ["'=1", "'+1", "'-1", "'@a", "' =1", "'\t=1", "'\uff1d1", "a=1", "1", "", "'=1"]
    assert list(map(as_text, texts)) == expected
    assert list(map(as_text, [-1, -0.5, 3, None])) == [-1, -0.5, 3, None]


def test_a_period_is_of_whole_days_or_so_long_ago() -> None:
    """Dates are the zone's days, the last one included; 7d and 24h count back from now."""
    rome = read_period("2023-11-13", "2023-11-13", NOW, "Europe/Rome")
    assert (rome.since, rome.until) == (1_699_830_000.0, 1_699_916_400.0)
    assert read_period("24h", None, NOW).since == NOW - 86_400
    assert read_period("7d", "1d", NOW).until == NOW - 86_400
    spring = read_period("2024-03-31", "2024-03-31", NOW, "Europe/Rome")
    assert spring.until - spring.since == 23 * 3_600
    for wrong in ("yesterday", "2023-13-01", "7", "-1d", "\x1b[31m", "99999999d"):
        with pytest.raises(UsageError):
            read_period(wrong, None, NOW)
    with pytest.raises(UsageError, match="not after"):
        read_period("2023-11-14", "2023-11-13", NOW)


@pytest.mark.parametrize("zone", ["", "Asia/Tokyo", "America/Lima"])
def test_the_first_and_the_last_date_that_there_are_mean_always(place: Place, zone: str) -> None:
    """Some write them for "no bound"; other way round they mean nothing at all, and no page fails on them."""
    always = read_period("0001-01-01", "9999-12-31", NOW, zone)
    assert not always.begins
    assert not always.ends
    assert not read_period(None, "0001-01-01", NOW, zone).has(0.0)
    assert not read_period("9999-12-31", None, NOW, zone).has(NOW)
    place.drop("a.wav")
    place.run_once()
    assert b"a.wav" in report(place, "--since", "0001-01-01", "--until", "9999-12-31", "--format", "html")
    for bound in (("--until", "0001-01-01"), ("--since", "9999-12-31")):
        assert b"a.wav" not in report(place, *bound, "--format", "html")


def test_a_report_has_only_what_arrived_in_its_period(place: Place) -> None:
    """From --since, before the end of --until; the rest is neither in a row nor in a sum."""
    place.drop("first.wav")
    place.run_once()
    place.clock.wait(3 * 86_400, threading.Event())
    place.drop("second.wav")
    place.run_once()

    first = place.item("first.wav").arrived_at
    day = Period().day(first).isoformat()
    assert [row["path"] for row in rows_of(report(place, "--until", day))] == ["first.wav"]
    text = report(place, "--until", day, "--format", "html").decode()
    assert "first.wav" in text
    assert "second.wav" not in text


def test_a_page_has_2_000_rows_at_the_most_and_says_what_it_left_out(place: Place) -> None:
    """Each of artificial, failed and held gets its fair share; what is left out is said and counted."""
    serial = count()
    with place.opened():
        pass
    with place.books() as books:
        for state in ("failed", "held", "withdrawn"):
            for _ in range(30):
                _add(books, next(serial), state)
    with open_to_read(place.config, place.clock) as context:
        found = read_report(context, Period(), most_lines=40)
        assert len(found.lines) == 40
        assert found.left_out == 50
        assert Counter(line.outcome for line in found.lines) == {"failed": 20, "held": 20}
        found = read_report(context, Period(), most_lines=70)
        assert Counter(line.outcome for line in found.lines) == {"failed": 30, "held": 30, "withdrawn": 10}


def _add(books: "object", number: int, state: str) -> None:
    from sqlalchemy import insert  # noqa: PLC0415

    from watcher.store.schema import items  # noqa: PLC0415

    connection = books.items._connection  # type: ignore[attr-defined]
    values = {
        "id": f"{number:016x}",
        "path": b"%d.wav" % number,
        "state": state,
        "fingerprint": "1:1:1:1:1",
        "size": 1,
        "arrived_at": 1_000.0 + number,
        "due_at": 0.0,
    }
    connection.execute(insert(items), values)


def test_a_report_before_the_first_start_is_empty(place: Place) -> None:
    """No recording is no error: the head of a table, no line, and a page that says so."""
    assert rows_of(report(place, name="out.csv")) == []
    assert report(place, name="out.json") == b""
    assert "No recording arrived." in report(place, name="out.html").decode()


def test_an_output_is_replaced_as_a_whole_or_not_at_all(busy: Place, tmp_path: Path) -> None:
    """A folder, a place that is not there and the drop folder are refused; nothing half written is left."""
    output = tmp_path / "report.csv"
    output.write_text("old")
    output.chmod(0o600)
    arguments = ["report", "--config", str(busy.config_path), "--output"]
    assert main([*arguments, str(output)]) == Exit.WELL
    assert output.read_bytes().startswith(b"\xef\xbb\xbf")
    assert output.stat().st_mode & 0o777 == 0o600

    for wrong in (tmp_path, tmp_path / "no" / "where.csv", busy.root / "drop" / "report.csv"):
        assert main([*arguments, str(wrong)]) == Exit.USAGE
    assert not list(tmp_path.rglob(".watcher-*"))
    assert main(["report", "--config", str(busy.config_path), "--separator", "ab"]) == Exit.USAGE


def test_a_report_in_parts_has_the_joined_verdict(make_place: MakePlace) -> None:
    """A recording that was sent in parts is counted, listed and told by the verdict of all of them."""
    from watcher.audio.synthesis import wav  # noqa: PLC0415

    place = make_place(limits={"max_upload_bytes": 50_000}, audio={"oversize": "split"})
    place.drop("long.wav", wav(20.0, seed=5))
    place.drop("short.wav", speech("short", seconds=2.0))
    place.run_once(verdicts=True)

    rows = {row["path"]: row for row in rows_of(report(place))}
    assert place.item("long.wav").plan is not None
    assert rows["long.wav"]["verdict"] in ("human", "artificial")
    assert rows["long.wav"]["verdict_at"]
    with open_to_read(place.config, place.clock) as context:
        found = read_report(context, Period())
    assert found.recordings == 2
    assert found.outcomes[Outcome.HUMAN] == 2
    assert sum(found.delays) == 2


def test_what_stands_between_backticks_is_a_command_and_all_else_is_text() -> None:
    """Whatever a stranger wrote between them, or one of them alone: it is escaped, and never a tag."""
    environment = make_environment(DictLoader({"said": "{{ said | told }}"}), Period())

    def told(said: str) -> str:
        return environment.get_template("said").render(said=said)

    assert told("Type `watcher dismiss 1a` & go") == "Type <code>watcher dismiss 1a</code> &amp; go"
    assert told("`<b>`") == "<code>&lt;b&gt;</code>"
    assert told("one ` alone <b>") == "one ` alone &lt;b&gt;"
    assert told("") == ""


@pytest.mark.parametrize("highest", [1, 2, 3, 5, 7, 13, 49, 51, 99, 4_321])
def test_whole_numbers_stand_at_the_axis_of_a_chart(highest: int) -> None:
    """Recordings are counted in whole ones, from none to what the highest bar has or more."""
    chart = draw(Chart("one", "One", "", "day", (("recordings", "plain"),), ["a"], [(highest,)]))
    levels = [mark.text for mark in chart.levels]
    assert levels[0] == "0"
    assert len(set(levels)) == len(levels) > 1
    assert not [text for text in levels if "." in text]
