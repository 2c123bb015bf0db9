"""What a person sees on a terminal, and that what a program reads stays plain."""

import re

import pytest

from tests.places import KEY, Place, speech
from tests.process.conftest import MakePlace
from tests.process.programs import Programs, on_terminal
from watcher.errors import Exit
from watcher.sandbox import Sandbox

ESCAPE = "\x1b["


@pytest.fixture
def judged(place: Place, service: Sandbox, watcher: Programs) -> Place:
    """A person's voice and an artificial one, both with their verdicts."""
    place.drop("person.wav")
    place.drop("robot.wav", speech("robot", note=b"sandbox:artificial"))
    program = watcher.call("run", "--once", "--verdicts", "--config", place.config_path)
    assert program.process.returncode == Exit.WELL, program.err
    return place


def lines_about(name: str, said: str) -> list[str]:
    return [line for line in said.splitlines() if name in line]


def test_an_artificial_verdict_stands_out_in_a_list_in_words_and_colour(judged: Place) -> None:
    """It is marked and red; a person's is neither. Without colours the mark is still there."""
    config = str(judged.config_path)

    code, said = on_terminal("list", "--config", config)
    assert code == Exit.WELL
    (robot,) = lines_about("robot.wav", said)
    (person,) = lines_about("person.wav", said)
    assert re.search(r"\x1b\[31m ?artificial <--", robot), robot
    assert "human" in person
    assert ESCAPE not in person

    _, colourless = on_terminal("list", "--config", config, NO_COLOR="1")
    (robot,) = lines_about("robot.wav", colourless)
    assert robot.rstrip().endswith("artificial <--")
    assert ESCAPE not in colourless


def test_a_list_in_a_pipe_has_the_bare_word(judged: Place, watcher: Programs) -> None:
    """Programs compare it: no mark, no colour."""
    (robot,) = lines_about("robot.wav", watcher.ask(judged, "list"))
    assert robot.split()[-1] == "artificial"
    assert ESCAPE not in robot


def test_an_artificial_verdict_stands_out_when_its_recording_is_shown(judged: Place, watcher: Programs) -> None:
    """Above what the recording is, marked, with the confidence; red where there are colours."""
    _, said = on_terminal("show", "robot.wav", "--config", str(judged.config_path))
    assert re.search(r"\x1b\[31martificial \(confidence 0\.\d+\) <--", said), said
    plain = watcher.ask(judged, "show", "robot.wav")
    assert re.search(r"^verdict +artificial \(confidence 0\.\d+\) <--$", plain, re.MULTILINE), plain
    assert plain.index("verdict") < plain.index("sha256")
    assert "<--" not in watcher.ask(judged, "show", "person.wav")


def test_the_log_calls_an_artificial_verdict_by_a_name_of_its_own(
    place: Place, service: Sandbox, watcher: Programs
) -> None:
    """Whoever reads, or filters, finds it among a hundred others; it is no warning, which would wake somebody."""
    place.drop("person.wav")
    place.drop("robot.wav", speech("robot", note=b"sandbox:artificial"))
    program = watcher.call("run", "--once", "--verdicts", "--config", place.config_path)
    (artificial,) = program.events("verdict.artificial")
    (known,) = program.events("verdict.known")
    assert (artificial["path"], artificial["level"], artificial["classification"]) == (
        "robot.wav",
        "info",
        "artificial",
    )
    assert known["path"] == "person.wav"


@pytest.mark.parametrize(("colours", "red"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_on_a_terminal_the_log_line_of_an_artificial_verdict_is_red(
    place: Place, service: Sandbox, colours: dict[str, str], red: bool
) -> None:
    """Unless colours are not wanted: then its name is all."""
    place.drop("robot.wav", speech("robot", note=b"sandbox:artificial"))
    code, said = on_terminal(
        "run", "--once", "--verdicts", "--config", str(place.config_path), TERM="xterm", **colours
    )
    assert code == Exit.WELL
    (line,) = lines_about("verdict.artificial", said)
    assert ("\x1b[31mverdict.artificial" in line) is red, line


def test_a_pass_that_waits_for_verdicts_says_so(make_place: MakePlace) -> None:
    """The bar of what is filed is full by then: one that stands at "filed 2/2" would look stuck."""
    with Sandbox(KEY, writes=(), reads=(), verdict_after_seconds=2.0) as service:
        place = make_place(identifai={"base_url": service.url})
        place.drop("one.wav")
        place.drop("two.wav")
        code, said = on_terminal("run", "--once", "--verdicts", "--config", str(place.config_path))
    assert code == Exit.WELL
    frames = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said)
    assert re.search(r"waiting for verdicts [^\n]*[01]/2", frames), frames
    last = [line for line in re.split(r"[\r\n]+", frames) if re.search(r"\d/2", line)][-1]
    assert "waiting for verdicts" in last
