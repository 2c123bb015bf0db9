"""The terminal of somebody who has eighty columns, little time and a phone number."""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess

import pytest
from rich.cells import cell_len

from tests.places import Place, speech
from tests.process.conftest import MakePlace
from tests.process.programs import ENVIRONMENT, Programs, on_terminal, wait_until
from tests.report.sites import HOSTILE, drop_hostile
from watcher.cli import main, state
from watcher.cli.arguments import GROUPS, build_parser
from watcher.cli.columns import Column, cut_end, cut_middle, lay_out
from watcher.errors import Exit
from watcher.sandbox import Sandbox

NARROW = {"COLUMNS": "80", "NO_COLOR": "1"}


@pytest.fixture
def filed(make_place: MakePlace, service: Sandbox, watcher: Programs) -> Place:
    """Recordings of every hostile name, an artificial one, and one that failed; a cap."""
    place = make_place(limits={"per_day": 1000, "writes": ["100/second"]}, arrivals={"incomplete_minutes": 0.005})
    drop_hostile(place)
    place.drop("2026/anna/call-+4930 123-4567.wav", speech("robot", note=b"sandbox:artificial"))
    place.drop("2026/anna/failed.wav", b"This is no recording. " * 50)
    program = watcher.call("run", "--once", "--verdicts", "--config", place.config_path, seconds=120)
    assert program.process.returncode in (Exit.WELL, Exit.INCOMPLETE), program.err
    return place


def fits(said: str, columns: int) -> list[str]:
    """The lines that are wider than the terminal. A word that is wider by itself is left whole, to be copied."""
    lines = said.replace("\r\n", "\n").split("\n")
    return [
        line for line in lines if cell_len(line) > columns and any(len(word) < 40 for word in line.split()[3:])
    ]


def test_whatever_a_recording_is_called_every_table_fits_and_nothing_steers_the_terminal(filed: Place) -> None:
    """The names are those that mean harm; `list`, `status`, `spend`, `verdicts` and `where` show them all."""
    config = str(filed.config_path)
    asked = [
        ("list",),
        ("list", "--name", "wav"),
        ("status",),
        ("spend", "--by", "folder"),
        ("spend", "--by", "user"),
    ]
    asked += [("list", "--waiting"), ("list", "--sort", "-name"), ("verdicts",)]
    for words in asked:
        code, said = on_terminal(*words, "--config", config, **NARROW)
        assert code == Exit.WELL
        assert fits(said, 80) == [], words
        lines = said.replace("\r\n", "\n").split("\n")
        assert all(line.isprintable() for line in lines), words
    _, said = on_terminal("list", "--config", config, COLUMNS="60", NO_COLOR="1")
    assert fits(said, 60) == []
    assert "artificial <--" in said
    for name in HOSTILE.values():
        code, said = on_terminal("where", "--config", config, "--", os.fsdecode(name), **NARROW)
        assert code == Exit.WELL, (name, said)
        assert all(line.isprintable() for line in said.replace("\r\n", "\n").split("\n")), name
        assert "was accepted" in " ".join(said.split()), name


def test_in_a_pipe_values_are_whole_and_a_tab_is_between_them(filed: Place, watcher: Programs) -> None:
    """Each line has as many columns as the first, whatever names there are; and what is shown is what JSON has."""
    head, *lines = watcher.ask(filed, "list").split("\n")[:-1]
    rows = [dict(zip(head.split("\t"), line.split("\t"), strict=True)) for line in lines]
    known = watcher.ask_json(filed, "list")
    assert [row["id"] for row in rows] == [item["id"] for item in known]
    assert [row["identifier"] for row in rows] == [item["identifier"] or "" for item in known]
    assert [row["arrived"] for row in rows] == [item["arrived_at"] for item in known]
    assert len(rows) == len(HOSTILE) + 3
    head, *lines = watcher.ask(filed, "spend", "--by", "folder").split("\n")[:-1]
    assert {line.count("\t") for line in lines} == {head.count("\t")}
    assert sum(int(line.split("\t")[2]) for line in lines) == len(HOSTILE) + 2


def test_a_recording_is_found_by_what_somebody_knows_of_it(filed: Place, watcher: Programs) -> None:
    """By its number, the verdict, the folder or the state; all of it together, or nothing."""

    def names(*words: str) -> list[str]:
        return [item["path"] for item in watcher.ask_json(filed, "list", *words)]

    call, failed = "2026/anna/call-+4930 123-4567.wav", "2026/anna/failed.wav"
    assert names("--name", "0049 (30) 1234567") == [call]
    assert names("--verdict", "artificial") == [call]
    assert names("--state", "failed") == [failed]
    assert sorted(names("--folder", "2026")) == [call, failed]
    assert sorted(names("--folder", f"{filed.root}/drop/2026/")) == [call, failed]
    assert names("--folder", f"{filed.root}/drop2026") == []
    assert names("--folder", "2026/anna", "--sort", "size") == [failed, call]
    assert names("--folder", "2026/anna", "--sort", "-size") == [call, failed]
    assert names("--since", "1h", "--verdict", "artificial") == names("--since", "1d", "--name", "CALL")
    assert names("--until", "1h") == []
    for wrong in (
        ["--sort", "colour"],
        ["--verdict", "perhaps"],
        ["--since", "soon"],
        ["--waiting", "--verdict", "human"],
    ):
        called = watcher.call("list", *wrong, "--config", filed.config_path)
        assert (called.process.returncode, called.out) == (Exit.USAGE, ""), wrong


def test_status_says_first_whether_it_works_then_what_needs_a_person_then_what_it_cost(
    filed: Place, watcher: Programs
) -> None:
    """In local time, and how long ago that is."""
    paris = ENVIRONMENT | {"TZ": "Asia/Kolkata"}
    said = watcher.call("status", "--config", filed.config_path, environment=paris).out
    names = [line[:13].strip() for line in said.splitlines()]
    assert names[:2] == ["daemon", "needs you"]
    assert names.index("needs you") < names.index("today") < names.index("verdicts") < names.index("rate")
    lines = dict(zip(names, said.splitlines(), strict=True))
    assert re.search(
        r"not running since (\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d, \d+ (s|min)( \d+ \w+)? ago", lines["daemon"]
    )
    assert re.search(r"today +\d+ of 1,000 charged, \d+ left", lines["today"])
    assert "1 artificial" in lines["verdicts"]
    (facts,) = watcher.ask_json(filed, "status")
    seconds = facts["last_scan_at"][17:19]
    assert lines["last scan"].split(",")[0].endswith(f":{seconds}")
    hour = int(facts["last_scan_at"][14:16])
    assert int(re.findall(r":(\d\d):", lines["last scan"])[0]) == (hour + 30) % 60
    assert facts["spend"]["day"] == {"charged": len(HOSTILE) + 2, "cap": 1000}


def test_monitoring_is_told_whether_work_succeeds(place: Place, watcher: Programs) -> None:
    """By the exit code: nobody works; it works; submitting is paused."""

    def ask() -> tuple[int, str]:
        called = watcher.call("status", "--healthy", "--config", place.config_path, environment=ENVIRONMENT)
        return called.process.returncode, called.out

    code, said = ask()
    assert (code, "not running" in said) == (Exit.INCOMPLETE, True)
    daemon = watcher.daemon(place)
    wait_until(lambda: ask() == (Exit.WELL, "work succeeds\n"), "it works", told=lambda: str(ask()))
    watcher.ask(place, "pause", "--reason", "audit")
    code, said = ask()
    assert (code, "audit" in said) == (Exit.UNAVAILABLE, True)
    watcher.ask(place, "resume")
    assert json.loads(watcher.ask(place, "status", "--healthy", "--json")) == {"healthy": True, "reasons": []}
    daemon.process.send_signal(signal.SIGSTOP)
    code, said = ask()
    assert (code, "hung" in said) == (Exit.INCOMPLETE, True)
    daemon.process.send_signal(signal.SIGCONT)


def test_status_renews_itself_until_it_is_stopped(place: Place, watcher: Programs) -> None:
    """An object a line for programs; Ctrl-C is the way out, and no error."""
    program = watcher.start("status", "--watch", "--json", "--config", place.config_path, environment=ENVIRONMENT)
    wait_until(lambda: program.out.count("\n") >= 2, "it was renewed", told=lambda: program.err)
    assert program.end(signal.SIGINT) == Exit.WELL
    assert all("states" in json.loads(line) for line in program.out.splitlines())
    assert program.err == ""


def test_a_terminal_that_knows_no_codes_gets_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """TERM=dumb: what is renewed stands below what was there before."""

    def stop(_: argparse.Namespace) -> None:
        raise KeyboardInterrupt

    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(state, "terminal_width", lambda: 80)
    assert state._watch(argparse.Namespace(json=False), stop) == Exit.WELL
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["lst"], "did you mean list?"),
        (["STATUS"], "did you mean status?"),
        (["list", "--stat", "failed"], "did you mean --state?"),
        (["list", "--state", "faild"], "did you mean failed?"),
        (["list", "--verdict", "artifical"], "did you mean artificial?"),
        (["retry", "--faild"], "did you mean --failed?"),
        (["status", "--jsn"], "did you mean --json?"),
        (["spend", "--by", "days"], "did you mean day?"),
        (["fly"], "there is no command fly"),
        (["list", "\x1b[31m"], r"unrecognized arguments: \x1b[31m"),
        (["\x1b[31m"], r"there is no command \x1b[31m"),
    ],
)
def test_a_mistyped_word_is_answered_with_what_it_may_have_meant(
    words: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    out, said = capsys.readouterr()
    assert (ended.value.code, out) == (Exit.USAGE, "")
    assert meant in said
    assert "\x1b" not in said


def test_every_command_stands_in_one_group_of_the_help_with_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    parser = build_parser()
    commands = parser._commands()
    assert commands is not None
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(commands.choices)
    said = parser.format_help()
    assert all(re.search(rf"^  {name} +\w", said, re.MULTILINE) for name in grouped)
    assert all(f"{title}:\n" in said for title in GROUPS)
    for text in [said, *(command.format_help() for command in commands.choices.values())]:
        assert [line for line in text.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_understood_by_its_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It knows every command and the options of each; the shell itself reads it, where it is installed."""
    assert main(["completion", shell]) == Exit.WELL
    script = capsys.readouterr().out
    assert all(word in script for word in ("where", "dismiss", "verdict", "healthy", "completion"))
    if shutil.which(shell) is not None:
        asked = [shell, "--no-execute" if shell == "fish" else "-n"]
        read = subprocess.run(asked, input=script, text=True, capture_output=True, check=False)
        assert (read.returncode, read.stderr) == (0, "")


def test_bash_completes_a_command_and_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == Exit.WELL
    script = capsys.readouterr().out
    ask = 'COMP_WORDS=({}); COMP_CWORD={}; $(complete -p watcher | grep -o "_[a-z_]*") ; echo "${{COMPREPLY[@]}}"'
    for words, place, expected in (("watcher spe", 1, "spend"), ("watcher list --verd", 2, "--verdict")):
        read = subprocess.run(
            ["bash", "--norc", "-c", script + "\n" + ask.format(words, place)],
            text=True,
            capture_output=True,
            check=True,
        )
        assert read.stdout.split() == [expected], read


# Tables


@pytest.mark.parametrize("width", range(1, 30))
def test_what_is_cut_keeps_both_ends_and_never_grows(width: int) -> None:
    """In cells of the terminal: some letters take two, and some none."""
    for text in ("2026-11-20/agent-0/call-+493012345.wav", "通話録音" * 5, "a\u0301" * 20, "", "x"):
        for cut in (cut_middle(text, width), cut_end(text, width)):
            assert cell_len(cut) <= width
            assert cut == text or "…" in cut
    if width > 12:
        cut = cut_middle("2026-11-20/agent-0/call-+493012345.wav", width)
        assert cut.startswith("2026")
        assert cut.endswith(".wav")


def test_on_a_narrow_terminal_what_matters_least_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watcher.cli.columns.terminal_width", lambda: 46)
    columns = (
        Column("id"),
        Column("name", is_cut=True),
        Column("state"),
        Column("models", rank=2),
        Column("by", rank=1),
    )
    rows = [["abcdef", "n" * 60, "done", "m" * 30, "anna"]]
    (lines,) = lay_out(columns, [rows])
    assert lines[0].split() == ["id", "name", "state", "by"]
    assert max(map(len, lines)) <= 46
