"""The documents are right: what they tell people to type does what they say it does, on a server of its own.

A command is typed as it stands, unless INSTEAD says what is typed in its place, and why. DAYS are the sections
that a test below goes through; no other section may have commands.
"""

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.package.documents import DOCUMENTS, block, blocks, bullets, commands, in_passing, read, sections
from tests.package.server import Server, running_server
from tests.people import PROJECT
from tests.places import KEY, speech
from tests.postgresql import server_started
from tests.process.programs import posts, wait_until
from tests.process.servers import free_port
from watcher.cli.arguments import build_parser
from watcher.errors import Exit
from watcher.sandbox import Sandbox
from watcher.text import JsonObject

README, UNITS = "README.md", "systemd/README.md"

DAYS = {
    README: {
        "See it work": "test_the_demo_is_there",
        "Install it as a service": "the fixture `installed`",
        "First start": "the fixture `started`",
        "For the people who drop": "test_a_first_day",
        "Several sites, several machines": "test_a_site_moves_into_a_database_on_a_server",
        "With cron, instead of a service": "test_passes_by_cron",
        "Backup and restore": "test_a_backup_and_its_return",
        "Update and roll back": "test_an_update_and_the_way_back",
        "Moving things": "test_the_folders_and_the_machine_are_moved",
        "Without systemd": "test_a_site_without_systemd",
    },
    UNITS: {
        "One site": "test_both_documents_install_it_alike",
        "The key": "test_an_encrypted_key",
        "Several sites": "test_three_sites",
    },
    "CONTRIBUTING.md": {},
    "SECURITY.md": {},
}
"""Document → section → what goes through its commands."""

INSTEAD = {
    # Tests use no network; .ci/run has the very same requirements installed by hash.
    "/usr/bin/python3 -m venv /opt/watcher": "{python} -m venv /opt/watcher",
    "/opt/watcher/bin/pip install --require-hashes -r requirements.txt": (
        "echo {lent} > $(echo /opt/watcher/lib/python*/site-packages)/lent.pth"
    ),
    # A name is filled in.
    "usermod --append --groups recordings NAME": "usermod --append --groups recordings anna",
    "watcher show drop/NAME": "watcher show drop/call.wav",
    # Half a minute, and tests/process/test_newcomers.py runs the demo itself.
    "make demo": "make --dry-run demo",
    # Encrypting wants a machine's own key, and a terminal to ask at; `edit` wants an editor.
    'systemd-ask-password -n "identifAI key:" |\n'
    "    systemd-creds encrypt --name=identifai.key - /etc/watcher/identifai.key.cred": (
        "systemd-ask-password --help && systemd-creds --help | grep -e --name="
    ),
    # It asks at a terminal.
    "runuser -u postgres -- psql -c '\\password watcher'": (
        "runuser -u postgres -- psql -c \"ALTER ROLE watcher PASSWORD 'secret'\""
    ),
    "systemctl edit watcher": "mkdir -p /etc/systemd/system/watcher.service.d",
}
"""Command → what is typed in its place. {python}: one that every user can run; {lent}: where its packages lie."""

IN_PASSING = {
    "systemctl stop watcher": "typed in README, Backup and restore",
    "systemctl restart watcher": "typed in README, Update and roll back",
    "systemctl reload watcher": "test_what_was_changed_is_read_again",
    "systemctl edit watcher": "see INSTEAD; systemd reads its lines in test_systemd.py",
    "watcher run 2>> /var/log/watcher.log": "test_the_log_is_rotated",
    "chmod g+r FILE": "test_a_first_day",
    "setfacl -R -m g:recordings:rwX -d -m g:recordings:rwX /srv/recordings/drop": (
        "test_what_is_blocked_is_let_through"
    ),
    "watcher COMMAND --help": "test_every_command_that_is_named_is_understood",
    "python -m tests.benchmarks judgement": "takes minutes: only looked whether it is there",
    "python -m tests.crash power --minutes 2": "the same; its words are read in tests/crash/test_trial.py",
    "make test": "takes minutes: only looked whether it is there, as of the others of make",
    "make crash": "",
    "make network": "",
    "make soak": "",
    "make fuzz": "",
    "make bench": "",
    "make lock": "",
}
"""What stands within a line and is no plain command of ours → what runs it."""


PATIENCE = "[arrivals]\nunclosed_seconds = 1\n"
"""For passes: without CAP_LEASE they wait for so long after the last change."""


# That nothing is left out


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_block_says_what_it_is(document: str) -> None:
    """A block without a language would be passed over here."""
    assert {b.language for b in blocks(document)} <= {"sh", "toml", "ini", "cron", "logrotate", "text"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_is_typed_by_a_test(document: str) -> None:
    """A section that has commands is gone through below, and what goes through it exists."""
    assert sections(document) == list(DAYS[document])
    assert all(name.startswith("the fixture") or name in globals() for name in DAYS[document].values())


def test_what_is_replaced_stands_in_a_document() -> None:
    """INSTEAD and IN_PASSING have nothing that no document has any more."""
    typed = {
        command
        for document in DOCUMENTS
        for section in sections(document)
        for command in commands(document, section)
    }
    named = {command for document in DOCUMENTS for command in in_passing(document)}
    assert INSTEAD.keys() - typed == set()
    assert IN_PASSING.keys() - named == set()


@pytest.mark.parametrize("command", dict.fromkeys(c for document in DOCUMENTS for c in in_passing(document)))
def test_every_command_that_is_named_is_understood(command: str) -> None:
    """What stands within a line: ours is parsed by the program, the rest is known to IN_PASSING and there."""
    words = shlex.split(command.replace("…", ""))
    if command in IN_PASSING:
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", (PROJECT / "Makefile").read_text(), re.MULTILINE)
        if words[:2] == ["python", "-m"]:
            assert (PROJECT / Path(*words[2].split("."), words[3])).with_suffix(".py").is_file()
        return
    assert words[0] == "watcher", f"{command}: nothing runs it"
    assert build_parser().parse_args(words[1:]).command


# The server


@dataclass
class Day:
    """A server that somebody works on from the documents alone."""

    server: Server
    service: Sandbox
    folder: str = ""

    def types(
        self, document: str, section: str, *, expected: dict[str, int] | None = None, user: str = "root"
    ) -> str:
        """Every command of the section was typed, and ended with 0, or as `expected`. All that they said."""
        said = ""
        for command in commands(document, section):
            said += self.type(command, user=user, expected=(expected or {}).get(command, 0))
        return said

    def type(self, command: str, *, user: str = "root", expected: int = 0) -> str:
        """What this command of a document says, typed as it stands or as INSTEAD has it."""
        python = self.server.python
        line = INSTEAD.get(command, command).replace("{python}", python.executable)
        line = line.replace("{lent}", python.environment["PYTHONPATH"])
        said = self.server.types(line, user=user, folder=self.folder)
        assert said.code == expected, f"{line}\nended with {said.code}:\n{said.text}"
        if entered := re.search(r"\bcd (\S+)$", command):
            self.folder = str(Path(self.folder, entered[1]))
        return said.text

    def configure(self, path: str, *more: str) -> None:
        """The configuration has also what these TOML texts have, and the stand-in's address."""
        tables: dict[str, dict[str, Any]] = {
            "identifai": {"base_url": self.service.url},
            "verdicts": {"first_seconds": 0.2},
        }
        for text in (self.server.path(path).read_text(), *more):
            for name, table in tomllib.loads(text).items():
                tables[name] = tables.get(name, {}) | table
        lines = [
            f"[{name}]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in t.items()) for name, t in tables.items()
        ]
        self.server.path(path).write_text("".join(lines))

    def write(self, path: str, text: str) -> None:
        """The file, which is there or not, has this content."""
        self.server.path(path).write_text(text)

    def drop(self, path: str, seed: str, *, user: str = "anna") -> None:
        """This user, whose umask is 022, copies a recording there."""
        source = self.server.path("/var/tmp") / "recording.wav"
        source.write_bytes(speech(seed))
        self.server.does(f"umask 022; cp {source.name} {path}", user=user, folder="/var/tmp")

    def status(self, *arguments: str) -> JsonObject:
        found: JsonObject = json.loads(self.server.does(shlex.join(["watcher", "status", "--json", *arguments])))
        return found

    def wait_for(self, **states: int) -> None:
        """So many recordings are in each of these states."""
        wait_until(lambda: self.status()["states"].items() >= states.items(), f"{states}", told=self.log)

    def log(self) -> str:
        return self.server.does("journalctl -u watcher")

    def mode(self, path: str) -> str:
        return self.server.does(f"stat -c '%a %U %G' {path}").strip()


@pytest.fixture
def service() -> Iterator[Sandbox]:
    with Sandbox(KEY, writes=(), reads=(), verdict_after_seconds=0.1) as running:
        yield running


@pytest.fixture
def machines() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is below /opt once the commands of README that put the program there were typed."""
    opt = tmp_path_factory.mktemp("program") / "opt"
    with Sandbox(KEY) as service, running_server() as server:
        day = Day(server, service)
        for command in filter(_is_of_the_program, commands(README, "Install it as a service")):
            day.type(command)
        server.keep_opt(opt)
    return opt


def _is_of_the_program(command: str) -> bool:
    return "-m venv" in command or "pip install" in command


@pytest.fixture
def bare(service: Sandbox, machines: ExitStack, program: Path) -> Day:
    """A server with the checkout, the program below /opt, and anna, who is nobody there yet."""
    day = Day(machines.enter_context(running_server(program)), service)
    day.server.does("useradd anna")
    return day


@pytest.fixture
def installed(bare: Day) -> Day:
    """As README has it, with the key in its place."""
    return _install(bare)


def _install(day: Day) -> Day:
    for command in commands(README, "Install it as a service"):
        if not _is_of_the_program(command):
            day.type(command)
    day.write("/etc/watcher/identifai.key", KEY)
    day.configure("/etc/watcher/config.toml")
    return day


@pytest.fixture
def started(installed: Day) -> Day:
    """It was checked, is at work, was looked at, and anna may drop recordings."""
    said = installed.types(README, "First start")
    assert "looked as watcher (uid" in said
    assert re.search(r"^ok +key ", said, re.MULTILINE), said
    assert "daemon.started" in said
    installed.types(README, "For the people who drop")
    return installed


# The days


def test_a_first_day(started: Day) -> None:
    """Anna's first recordings are filed, whatever her umask; one that was private once its group may read it.

    Receipts are read by the group and nobody else, the database by the service alone, the key by root.
    """
    started.drop("/srv/recordings/drop/", "first")
    started.server.does("umask 022; mkdir /srv/recordings/drop/new", user="anna")
    started.drop("/srv/recordings/drop/new/", "second")
    started.drop("/var/tmp/private.wav", "private")
    private = "chmod 600 private.wav; cp private.wav /srv/recordings/drop/"
    started.server.does(private, user="anna", folder="/var/tmp")
    assert "chmod g+r FILE" in in_passing(README)
    started.server.does("chmod g+r private.wav", user="anna", folder="/srv/recordings/drop")
    started.wait_for(done=3)
    assert started.mode("/srv/recordings/done/recording.wav.json") == "640 watcher recordings"
    assert started.mode("/srv/recordings/done/new") == "2750 watcher recordings"
    assert started.server.types("cat /var/lib/watcher/watcher.db", user="anna").code != 0
    assert started.server.types("cat /etc/watcher/identifai.key", user="watcher").code != 0
    said = json.loads(started.server.does("cat /srv/recordings/done/new/recording.wav.json", user="anna"))
    assert said["identifier"]
    assert (
        started.server.types("mv /srv/recordings/done/recording.wav /srv/recordings/drop", user="anna").code != 0
    )
    assert "is done" in started.server.does("watcher why new/recording.wav")
    assert started.service.charged == 3


def test_what_is_blocked_is_let_through(started: Day) -> None:
    """What anna moved in, and keeps to herself, is named; README's one command has it all taken."""
    (remedy,) = [command for command in in_passing(README) if command.startswith("setfacl")]
    started.configure("/etc/watcher/config.toml", "[arrivals]\nrescan_seconds = 1\n")
    started.server.does("systemctl restart watcher")
    started.drop("/var/tmp/moved.wav", "moved")
    started.drop("/var/tmp/inside.wav", "inside")
    started.server.does(
        "install -d -o anna -m 700 /srv/recordings/away; mv /var/tmp/moved.wav /srv/recordings/away"
    )
    line = "chmod 600 away/moved.wav; mv away/moved.wav drop/"
    started.server.does(line, user="anna", folder="/srv/recordings")
    line = "mkdir -m 700 drop/own; cp /var/tmp/inside.wav drop/own/"
    started.server.does(line, user="anna", folder="/srv/recordings")
    wait_until(lambda: started.status()["blocked_total"] == 2, told=started.log)
    assert "moved.wav" in started.server.does("watcher list --waiting")
    assert started.server.types("watcher check").code == Exit.INCOMPLETE
    started.server.does(remedy)
    started.server.does("watcher resume")
    started.wait_for(done=2)
    assert started.service.charged == 2


def test_what_a_monitor_looks_for_is_there(started: Day) -> None:
    """`status --json` has the fields, and the program the events, that README tells a monitor to look for."""
    points = bullets(README, "Monitoring")
    fields = [name for point in points if "watcher status" in point for name in re.findall(r"`(\w+)`", point)]
    events = [name for point in points for name in re.findall(r"`(\w+\.\w+)`", point)]
    assert len(fields) > 5
    assert set(fields) - started.status().keys() == set()
    sources = "".join(path.read_text() for path in (PROJECT / "watcher").rglob("*.py"))
    assert len(events) > 5
    assert [event for event in events if not _is_logged(event, sources)] == []


def _is_logged(event: str, sources: str) -> bool:
    """Written out, or made of its first word and a kind that has the name of the second."""
    first, second = event.split(".")
    return f'"{event}"' in sources or (f'f"{first}.{{' in sources and f'= "{second}"' in sources)


def test_what_was_changed_is_read_again(started: Day) -> None:
    """`systemctl reload watcher` takes the limits without a stop, and the log says so."""
    assert "systemctl reload watcher" in in_passing(README)
    started.configure("/etc/watcher/config.toml", '[limits]\nwrites = ["1/10s"]\n')
    started.server.does("systemctl reload watcher")
    wait_until(lambda: "10 s" in started.server.does("watcher status"), told=started.log)
    assert "active (running)" in started.server.does("systemctl status watcher")


def test_a_backup_and_its_return(started: Day) -> None:
    """The copy is nobody's but root's; after its return what was filed since is in the books again, not sent."""
    started.drop("/srv/recordings/drop/before.wav", "before")
    started.wait_for(done=1)
    before = commands(README, "Backup and restore")
    stop = before.index("systemctl stop watcher")
    for command in before[:stop]:
        started.type(command)
    assert started.mode("/var/backups/watcher") == "700 root root"
    assert started.mode("/var/backups/watcher/watcher.db") == "600 root root"
    started.drop("/srv/recordings/drop/since.wav", "since")
    started.wait_for(done=2)

    said = ""
    for command in before[stop:]:
        said = started.type(command)
    assert "The books add up" in said
    assert started.mode("/var/lib/watcher/watcher.db") == "640 watcher watcher"
    assert "since.wav" in started.server.does("watcher list")
    started.drop("/srv/recordings/drop/after.wav", "after")
    started.drop("/srv/recordings/drop/since-again.wav", "since")
    started.wait_for(done=4)
    assert started.service.charged == len(posts(started.service)) == 3


def test_a_database_that_is_lost(started: Day) -> None:
    """Nothing is begun in its place. It is rebuilt; or the three marks are removed, and a new site begins."""
    started.drop("/srv/recordings/drop/before.wav", "before")
    started.wait_for(done=1)
    started.server.does("systemctl stop watcher; rm /var/lib/watcher/watcher.db")
    assert started.server.types("systemctl start watcher").code != 0
    said = started.log().splitlines()[-6:]
    marks = [f"/srv/recordings/{name}/.watcher" for name in ("drop", "done", "failed")]
    assert all(mark in "\n".join(said) for mark in marks), said
    assert started.server.types("watcher check").code not in (Exit.WELL, Exit.UNAVAILABLE)
    started.server.does("watcher recover")
    assert started.mode("/var/lib/watcher/watcher.db").endswith("watcher watcher")
    started.server.does("systemctl start watcher")
    started.wait_for(done=1)
    started.server.does("systemctl stop watcher; rm /var/lib/watcher/watcher.db*")
    started.server.does(shlex.join(["rm", *marks]))
    started.server.does("systemctl start watcher")
    started.drop("/srv/recordings/drop/after.wav", "after")
    started.wait_for(done=1)
    assert started.service.charged == 2


def test_an_update_and_the_way_back(started: Day) -> None:
    """The new program is installed over the old one; the old one refuses a newer database, and takes the copy."""
    started.drop("/srv/recordings/drop/before.wav", "before")
    started.wait_for(done=1)
    typed = commands(README, "Update and roll back")
    back = typed.index("systemctl stop watcher")
    said = "".join(started.type(command) for command in typed[:back])
    assert "Successfully installed identifai-watcher" in said
    started.wait_for(done=1)
    database = "/var/lib/watcher/watcher.db"
    started.server.does(f"systemctl stop watcher; cp -p {database} {database}.before-0001.bak; sleep 0.1")
    started.server.does(f"cp -p {database} {database}.before-0002.bak; touch {database}.before-0002.bak")
    started.server.does(f"sqlite3 {database} \"update alembic_version set version_num = '9999'\"")
    assert started.server.types("systemctl start watcher").code != 0
    assert "newer than this program" in started.log()

    for command in typed[back:]:
        started.type(command)

    assert started.mode(database) == "640 watcher watcher"
    started.wait_for(done=1)
    assert started.service.charged == 1


def test_the_folders_and_the_machine_are_moved(started: Day, machines: ExitStack, program: Path) -> None:
    """What waits, what is filed and what is known comes along, and all goes on at the new place, once."""
    started.drop("/srv/recordings/drop/before.wav", "before")
    started.wait_for(done=1)
    typed = commands(README, "Moving things")
    pack, unpack = (next(i for i, c in enumerate(typed) if f"tar --{word}" in c) for word in ("create", "extract"))
    leave = pack - 1
    assert typed[leave] == "systemctl disable --now watcher"
    for command in typed[:leave]:
        started.type(command)
    started.drop("/srv/calls/drop/", "here")
    started.wait_for(done=2)
    assert started.mode("/srv/watcher/watcher.db") == "640 watcher watcher"
    started.server.does(
        "systemctl stop watcher; mv /srv/calls /srv/recordings; mv /srv/watcher/* /var/lib/watcher/ && "
        "sed -i 's,/srv/watcher/,/var/lib/watcher/,; s,/srv/calls,/srv/recordings,' /etc/watcher/config.toml && "
        "systemctl start watcher"  # back, since the machine is packed as it was installed
    )
    started.server.does("watcher pause")
    started.drop("/srv/recordings/drop/waits.wav", "waits")
    started.wait_for(done=2, queued=1)
    for command in typed[leave:unpack]:
        started.type(command)

    new = Day(machines.enter_context(running_server(program)), started.service)
    new.server.does("useradd --system other; useradd anna")  # so that numbers of users differ
    _install(new)
    archive = started.server.path("/root/watcher.tar").read_bytes()
    new.server.path("/root/watcher.tar").write_bytes(archive)
    for command in typed[unpack:]:
        new.type(command)
    new.server.does("watcher resume")
    new.wait_for(done=3)
    assert new.mode("/srv/recordings/drop") == "2770 root recordings"
    assert new.mode("/var/lib/watcher/watcher.db") == "640 watcher watcher"
    new.server.does("watcher reconcile")
    assert started.service.charged == len(posts(started.service)) == 3


def test_the_log_is_rotated(installed: Day) -> None:
    """What logrotate's copytruncate does, as README has it: the log goes on in the file, from its beginning."""
    (command,) = [c for c in in_passing(README) if c.startswith("watcher run 2>>")]
    rules = block(README, "Monitoring", "logrotate")
    log = rules.split()[0]
    assert log in command
    assert "copytruncate" in rules
    installed.types(README, "For the people who drop")
    environment = f"touch {log}; chown watcher {log}; install -d -o watcher /var/lib/watcher"
    installed.server.does(environment)
    line = f"cd /var/lib/watcher; IDENTIFAI_API_KEY={KEY} setsid {command} < /dev/null > /dev/null &"
    installed.server.does(line, user="watcher")
    wait_until(lambda: "watch.chosen" in installed.server.does(f"cat {log}"))
    installed.server.does(f"cp {log} {log}.1; truncate --size 0 {log}")
    installed.drop("/srv/recordings/drop/call.wav", "call")
    wait_until(lambda: "recording.done" in installed.server.does(f"cat {log}"))
    assert all(json.loads(line) for line in installed.server.path(log).read_text().splitlines())


def test_passes_by_cron(started: Day) -> None:
    """The line in cron.d, in cron's environment, files what is there without a word, and names what it left."""
    started.types(README, "With cron, instead of a service")
    started.configure(
        "/etc/watcher/config.toml", block(README, "With cron, instead of a service", "toml"), PATIENCE
    )
    when = re.match(r"(\S+ ){5}(\w+) (.*)\n$", block(README, "With cron, instead of a service", "cron"))
    assert when is not None
    user, line = when[2], when[3]
    assert (user, "%" in line) == ("watcher", False)  # cron makes a line's end of a %
    environment = "HOME=/var/lib/watcher LOGNAME=watcher SHELL=/bin/sh PATH=/usr/bin:/bin"
    line = f"exec env -i {environment} sh -c {shlex.quote(line)}"
    started.drop("/srv/recordings/drop/call.wav", "call")
    said = started.server.types(line, user=user, folder="/var/lib/watcher")
    assert (said.code, said.text) == (Exit.WELL, "")
    assert started.status()["states"]["done"] == 1
    assert started.mode("/srv/recordings/done/call.wav.json") == "640 watcher recordings"
    started.server.path("/var/tmp/cut.wav").write_bytes(speech("cut")[:-1000])
    started.server.does("cp /var/tmp/cut.wav /srv/recordings/drop/", user="anna")
    said = started.server.types(line, user=user, folder="/var/lib/watcher")
    assert said.code == Exit.INCOMPLETE
    assert "cut.wav" in said.text


def test_a_site_without_systemd(bare: Day) -> None:
    """Anna has a site of her own in a folder of her own, against the sandbox that she started herself."""
    typed = commands(README, "Without systemd")
    made = next(i for i, c in enumerate(typed) if c.startswith("mkdir"))
    for command in typed[:made]:
        if not _is_of_the_program(command):
            bare.type(command)
    bare.server.does(
        "install -d -o anna /home/anna; setsid watcher sandbox --port 8479 > /var/log/sandbox 2>&1 < /dev/null &"
    )
    wait_until(lambda: "8479" in bare.server.does("cat /var/log/sandbox"))
    bare.folder = "/home/anna"
    check = typed.index("watcher check")
    for command in typed[made:check]:
        bare.type(command, user="anna")
    bare.server.does(
        "echo sandbox > identifai.key; "
        'printf "[identifai]\\nbase_url = \\"http://127.0.0.1:8479\\"\\n" >> config.toml',
        user="anna",
        folder=bare.folder,
    )
    bare.type(typed[check], user="anna")
    bare.drop(f"{bare.folder}/drop/call.wav", "call")
    said = "".join(bare.type(command, user="anna") for command in typed[check + 1 :])
    assert "done" in said
    assert "human" in said or "artificial" in said


def test_the_demo_is_there(bare: Day) -> None:
    """`make demo` is a target whose steps can be told; test_newcomers.py runs the demo itself."""
    assert "watcher demo" in bare.types(README, "See it work")


def test_both_documents_install_it_alike(installed: Day) -> None:
    """systemd/README.md has the lines of README, each with its reason; what it looks with works."""
    ours, theirs = commands(README, "Install it as a service"), commands(UNITS, "One site")
    assert theirs[: len(ours)] == ours
    for command in theirs[len(ours) :]:
        installed.type(command)


def test_an_encrypted_key(installed: Day) -> None:
    """The commands are systemd's, and are there; that its lines load is tried in test_systemd.py."""
    installed.types(UNITS, "The key")


def test_three_sites(installed: Day) -> None:
    """Each has its own folders, key and database, is checked and asked by itself; all are restarted at once."""
    typed = commands(UNITS, "Several sites")
    made = next(i for i, c in enumerate(typed) if c.startswith("systemctl"))
    for command in typed[:made]:
        installed.type(command)
    example = tomllib.loads(block(UNITS, "Several sites", "toml"))
    assert tomllib.loads(installed.server.path("/etc/watcher/north.toml").read_text()) == example
    installed.types(README, "For the people who drop")
    sites = ("north", "south", "west")
    for site in sites:
        installed.write(f"/etc/watcher/{site}.key", KEY)
        installed.configure(f"/etc/watcher/{site}.toml")
    for command in typed[made:]:
        installed.type(command)
    for site in sites:
        installed.drop(f"/srv/recordings/{site}/drop/call.wav", site)
    for site in sites:
        at = ("--config", f"/etc/watcher/{site}.toml")
        wait_until(lambda at=at: installed.status(*at)["states"]["done"] == 1)  # type: ignore[misc]
    assert installed.service.charged == 3


def test_a_site_moves_into_a_database_on_a_server(started: Day) -> None:
    """Its books are there, and its daemon goes on with them: what was paid for is known, what is new is sent.

    Nobody but the service's user and root can read the password.
    """
    port = free_port()
    for command in server_started(port):
        started.server.does(command)
    started.drop("/srv/recordings/drop/before.wav", "before")
    started.wait_for(done=1)
    section = "Several sites, several machines"
    typed = commands(README, section)
    stop = typed.index("systemctl stop watcher")
    for command in typed[:stop]:
        started.type(command)
    started.write("/etc/watcher/pgpass", f"127.0.0.1:{port}:watcher:watcher:secret\n")
    text = block(README, section, "toml").replace("127.0.0.1/", f"127.0.0.1:{port}/")
    started.configure("/etc/watcher/config.toml", text)
    for command in typed[stop:]:
        started.type(command)
    assert started.mode("/etc/watcher/pgpass") == "600 watcher watcher"
    assert started.mode("/var/lib/watcher/watcher.node") == "640 watcher watcher"
    started.drop("/srv/recordings/drop/again.wav", "before")
    started.drop("/srv/recordings/drop/after.wav", "after")
    started.wait_for(done=3)
    assert started.service.charged == 2


def test_every_path_in_contributing_is_there() -> None:
    """A file, or a folder where it ends with a slash: the tree first, then where a change goes."""
    text = read("CONTRIBUTING.md")
    named = re.findall(r"^watcher/\S+", block("CONTRIBUTING.md", "Contributing", "text"), re.MULTILINE)
    named += [span for span in re.findall(r"`([^`\s]+)`", text) if "/" in span or span.endswith((".py", ".md"))]
    there = [
        path for path in named if (PROJECT / path).exists() and path.endswith("/") == (PROJECT / path).is_dir()
    ]
    assert len(named) > 30
    assert [path for path in named if path not in there] == []
