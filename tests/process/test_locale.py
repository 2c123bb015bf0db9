"""In any locale, with any name: no command ends in the interpreter's own words about characters."""

import json
import os
from pathlib import Path

import pytest

from tests.places import KEY, Place, speech
from tests.process.conftest import QUICK
from tests.process.programs import CLOCK, ENVIRONMENT, Programs, run_all
from watcher.errors import Exit
from watcher.sandbox import Sandbox

LOCALES = {
    "none": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "none, and ascii output": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii:strict"},
    "latin-1 output": {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "latin-1"},
}
NAMES = ("Rückruf Müller.wav".encode(), b"no utf-8 \xfc.wav", "電話 😀.wav".encode())


@pytest.fixture(params=LOCALES)
def environment(request: pytest.FixtureRequest) -> dict[str, str]:
    """What the program is given; nothing of the tests' own locale."""
    own = {name: value for name, value in ENVIRONMENT.items() if name != "LANG"}
    return own | {"IDENTIFAI_API_KEY": KEY} | LOCALES[request.param]


@pytest.fixture
def named_place(tmp_path: Path, service: Sandbox) -> Place:
    """A site with such names everywhere: its folder, the three folders, the database, what is configured."""
    root = Path(os.fsdecode(os.fsencode(tmp_path) + "/Büro ".encode() + b"\xff"))
    root.mkdir()
    place = Place(root, service.url, CLOCK)
    for name in ("Eingänge", "erledigt é", "abgewiesen ß"):
        (root / name).mkdir()
    tables = {name: dict(section) for name, section in QUICK.items()} | {
        "folders": {"drop": "Eingänge", "done": "erledigt é", "failed": "abgewiesen ß"},
        "store": {"url": "sqlite:///bücher.db"},
        "identifai": {
            "base_url": service.url,
            "account": "Käthe",
            "ref_id": "ü {stem}",
            "upload_name": "original",
        },
    }
    tables["arrivals"] |= {"ignore": ["*.öld"], "sidecar": [".mü", ".xml"]}
    lines: list[str] = []
    for section, keys in tables.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in keys.items()]
    place.config_path.write_text("\n".join(lines), encoding="utf-8")
    return place


def put(place: Place, name: bytes, content: bytes) -> None:
    path = os.path.join(os.fsencode(place.root / "Eingänge"), name)
    with open(path, "wb") as file:
        file.write(content)


def test_every_command_takes_and_tells_every_name(
    named_place: Place, service: Sandbox, environment: dict[str, str]
) -> None:
    """In the arguments, the configuration, on the disk, in the log and in the output; JSON stays JSON."""

    def run(*commands: tuple[str | bytes, ...], code: int = Exit.WELL) -> list[str]:
        ended = run_all(named_place, *commands, environment=environment)
        assert [each for each, _ in ended] == [code] * len(commands), ended
        return [out for _, out in ended]

    for name in NAMES:
        put(named_place, name, speech(repr(name)))
        put(named_place, name[:-4] + ".mü".encode(), b"a sidecar")
    for name in ("Notiz ü.wav".encode(), b"notiz \xfc.wav"):
        put(named_place, name, b"\x7fELF is no recording")
        put(named_place, name[:-4] + b".xml", b"a sidecar")
    put(named_place, "alt.öld".encode(), b"passed over")
    done = os.fsencode(named_place.root / "erledigt é")

    assert all(run(("check",), ("pause", "--reason", "Prüfung é")))
    run(("run", "--once"), code=Exit.UNAVAILABLE)
    status, told, *whys = run(("status", "--json"), ("status",), *(("why", name) for name in NAMES))
    assert json.loads(status)["paused"]["reason"] == "Prüfung é"
    assert "Pr" in told
    assert ["is queued" in why for why in whys] == [True] * 3
    run(("resume",), ("run", "--once", "--verdicts"))
    listed, *tables = run(("list", "--json"), ("list",), *(("show", name) for name in NAMES))
    assert all(tables)
    items = {item["path"]: item for item in map(json.loads, listed.splitlines())}
    shown = [name.decode(errors="backslashreplace") for name in NAMES]
    assert sorted(path for path, item in items.items() if item["state"] == "done") == sorted(shown)
    asked = [*NAMES, *(os.path.join(done, name) for name in NAMES)]
    assert ["is done" in why for why in run(*(("why", name) for name in asked))] == [True] * 6
    items_shown = run(*(("show", "--json", name) for name in NAMES))
    assert [json.loads(one)["path"] for one in items_shown] == shown
    ignored, *unknown = run(("why", "alt.öld"), ("why", "nirgends é.wav"), ("why", b"nirgends \xe9.wav"))
    assert "is ignored" in ignored
    assert ["no such file" in why for why in unknown] == [True] * 2
    run(("show", "nirgends é.wav"), ("release", NAMES[0]), ("fail", NAMES[1]), code=Exit.USAGE)
    run(("retry", b"notiz \xfc.wav"), ("retry", "--failed"))
    run(("run", "--once"), code=Exit.INCOMPLETE)
    books, estimate, told, migrated = run(
        ("reconcile",), ("estimate", "--json", done), ("estimate", done), ("migrate",)
    )
    assert "add up" in books
    assert json.loads(estimate)["recordings"] == len(NAMES)
    assert told
    assert "has this version" in migrated
    assert json.loads(run(("check", "--json"))[0])["well"]
    assert service.charged == len(NAMES)


def test_what_is_wrong_is_told_with_its_names(tmp_path: Path, environment: dict[str, str]) -> None:
    """A configuration that is not there, has a wrong value, is no UTF-8, or names folders that are not there."""
    for content in (
        None,
        b'[identifai]\naccount = "\xc3\xa9\\n"\n',
        b'[\xc3\xbcberraschung]\n\xc3\xa4 = "\xc3\xa9"\n',
        b'[folders]\ndrop = "\xe9"\n',
        b'[folders]\ndrop = "fehlt \xc3\xa9"\n[store]\nurl = "sqlite:///fehlt \xc3\xa9/x.db"\n',
    ):
        place = Place(tmp_path, "http://127.0.0.1:9", CLOCK)
        place.config_path.unlink()
        place.config_name = os.fsdecode("Einstellungen é ".encode() + b"\xff.toml")
        if content is not None:
            place.config_path.write_bytes(content)
        ended = run_all(place, ("run",), ("status",), ("check",), environment=environment)
        assert [code for code, _ in ended] == [Exit.CONFIG] * 3


def test_the_helps_are_printed(place: Place, environment: dict[str, str]) -> None:
    """Whatever characters they have."""
    commands = ((command, "--help") for command in ("run", "list", "retry", "check"))
    helps = run_all(place, *commands, environment=environment)
    assert [code for code, _ in helps] == [Exit.WELL] * 4


def test_the_demo_runs_in_no_locale(watcher: Programs, tmp_path: Path) -> None:
    """It has a recording with an umlaut."""
    environment = ENVIRONMENT | LOCALES["none"]
    program = watcher.start("demo", "--dir", str(tmp_path / "Vorführung"), environment=environment)
    assert program.end(seconds=120) == Exit.WELL, program.out + program.err
