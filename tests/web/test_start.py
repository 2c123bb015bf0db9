"""Whether the daemon starts with its page, and how it ends with it."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.conftest import MakePlace
from tests.process.programs import ENVIRONMENT, Program, Programs, wait_until
from tests.web.asking import ask, connect, port_of
from tests.web.conftest import Serve
from watcher.errors import Exit
from watcher.web.password import PasswordHash


def refused(watcher: Programs, make_place: MakePlace, **web: object) -> Program:
    place = make_place(web=web)
    program = watcher.call("run", "--config", place.config_path)
    assert program.process.returncode == Exit.CONFIG, program.err
    return program


def test_a_port_that_another_program_has_is_one_clear_error(watcher: Programs, make_place: MakePlace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        program = refused(watcher, make_place, listen=f"127.0.0.1:{other.getsockname()[1]}")
    assert "web.listen" in program.err
    assert "Address already in use" in program.err
    assert "Traceback" not in program.err


def test_an_address_of_no_machine_of_ours_is_one_clear_error(
    watcher: Programs, make_place: MakePlace, tmp_path: Path
) -> None:
    file = password_file(tmp_path)
    program = refused(watcher, make_place, listen="192.0.2.1:0", password_file=str(file))
    assert "web.listen: 192.0.2.1:0 cannot be used" in program.err


@pytest.mark.parametrize("host", ["a..b", f"{'a' * 64}.example"])
def test_a_name_that_no_machine_can_have_is_one_clear_error(
    watcher: Programs, make_place: MakePlace, tmp_path: Path, host: str
) -> None:
    file = password_file(tmp_path)
    program = refused(watcher, make_place, listen=f"{host}:0", password_file=str(file))
    assert f"web.listen: {host}:0 cannot be used" in program.err
    assert "Traceback" not in program.err


def test_a_second_daemon_is_told_of_the_first_and_not_of_its_port(
    watcher: Programs, make_place: MakePlace
) -> None:
    """75, as without a page: the lock of the site is asked before the port."""
    place = make_place(web={"listen": "127.0.0.1:0"})
    port = port_of(watcher.daemon(place))
    place.configure(web={"listen": f"127.0.0.1:{port}"})
    second = watcher.call("run", "--config", place.config_path)
    assert second.process.returncode == Exit.RUNNING, second.err


def password_file(folder: Path, text: str = "") -> Path:
    file = folder / "web.password"
    file.write_text(text or f"{PasswordHash.of('a password')}\n")
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "10.1.2.3:8473", "watch.example:8473"])
def test_without_a_password_it_listens_on_this_machine_alone(
    listen: str, watcher: Programs, make_place: MakePlace
) -> None:
    """It does not start; the message names both ways out. `check` says the same."""
    program = refused(watcher, make_place, listen=listen)
    assert "web.listen" in program.err
    assert "web.password_file" in program.err
    assert "127.0.0.1" in program.err


def test_with_a_password_it_listens_wherever_it_is_told_to(
    watcher: Programs, make_place: MakePlace, tmp_path: Path
) -> None:
    place = make_place(web={"listen": "0.0.0.0:0", "password_file": str(password_file(tmp_path))})
    assert ask(port_of(watcher.daemon(place))).status == 401


@pytest.mark.parametrize(
    "text",
    [
        "my password\n",
        "\n",
        "scrypt$1$1$1$AA==$AA==\n",
        "scrypt$32768$8$1$$\n",
        f"scrypt$2$1${10**9}$AA==$AA==\n",
        "\xff\n",
    ],
)
def test_what_is_no_hash_is_refused_and_never_shown(
    text: str, watcher: Programs, make_place: MakePlace, tmp_path: Path
) -> None:
    """A password in clear text above all; the command that makes a hash is named."""
    file = password_file(tmp_path, text)
    program = refused(watcher, make_place, listen="127.0.0.1:0", password_file=str(file))
    assert "watcher password" in program.err
    assert text.strip() == "" or text.strip() not in program.err


def test_a_password_file_that_is_not_there_or_closed_is_one_clear_error(
    watcher: Programs, make_place: MakePlace, tmp_path: Path
) -> None:
    program = refused(watcher, make_place, listen="127.0.0.1:0", password_file=str(tmp_path / "none"))
    assert "does not exist" in program.err
    program = refused(watcher, make_place, listen="127.0.0.1:0", password_file=str(tmp_path))
    assert "cannot be read" in program.err


def test_a_password_file_that_others_can_read_is_said(
    watcher: Programs, make_place: MakePlace, tmp_path: Path
) -> None:
    file = password_file(tmp_path)
    file.chmod(0o644)
    place = make_place(web={"listen": "127.0.0.1:0", "password_file": str(file)})
    daemon = watcher.daemon(place)
    assert "chmod 600" in daemon.wait_for("web.password_exposed")[0]["reason"]


def test_the_command_makes_a_hash_that_the_page_takes(tmp_path: Path) -> None:
    """It reads one line; the password is in no argument, and the hash is another each time."""
    hashes = [_hash(b"p\xc3\xa4ssword\n"), _hash(b"p\xc3\xa4ssword")]
    assert hashes[0] != hashes[1]
    assert all(PasswordHash.parse(text).fits("pässword") for text in hashes)
    assert not PasswordHash.parse(hashes[0]).fits("password")


def _hash(given: bytes) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "watcher", "password"],
        input=given,
        capture_output=True,
        env=ENVIRONMENT,
        check=True,
    )
    return done.stdout.decode().strip()


def test_check_looks_at_what_can_go_wrong_with_the_page(
    watcher: Programs, make_place: MakePlace, tmp_path: Path
) -> None:
    """An address that another program has, a password's file that is none or that others read, or no name."""

    def found(**web: object) -> tuple[int, str]:
        place = make_place(web=web)
        program = watcher.call("check", "--config", place.config_path)
        lines = program.out.splitlines()
        begins = next((n for n, line in enumerate(lines) if " page " in line), len(lines))
        return program.process.returncode, " ".join(lines[begins : begins + 3])

    with socket.create_server(("127.0.0.1", 0)) as other:
        code, said = found(listen=f"127.0.0.1:{other.getsockname()[1]}")
    assert code == Exit.CONFIG
    assert "cannot be used" in said
    assert "for this machine alone" in found(listen="127.0.0.1:0")[1]
    file = password_file(tmp_path)
    assert "web.hosts is empty" in found(listen="0.0.0.0:0", password_file=str(file))[1]
    assert "with a password" in found(listen="0.0.0.0:0", password_file=str(file), hosts=["a.example"])[1]
    file.chmod(0o644)
    assert "chmod 600" in found(listen="127.0.0.1:0", password_file=str(file))[1]
    file.write_text("a password in clear")
    code, said = found(listen="127.0.0.1:0", password_file=str(file))
    assert code == Exit.CONFIG
    assert "a password in clear" not in said
    assert found(listen="")[1] == ""
    place = make_place(web={"listen": "127.0.0.1:0"})
    place.configure(web={"listen": f"127.0.0.1:{port_of(watcher.daemon(place))}"})
    assert "cannot be used" not in watcher.call("check", "--config", place.config_path).out


def test_nothing_is_served_where_nothing_is_set(watcher: Programs, make_place: MakePlace) -> None:
    """Neither is anything of it loaded: the daemon without a page is as small as before."""
    daemon = watcher.daemon(make_place())
    assert daemon.events("web.listening") == []
    assert daemon.stop() == Exit.WELL


def test_it_ends_with_the_daemon_whoever_is_connected(serve: Serve, watcher: Programs) -> None:
    """Open connections, some in the middle of a request, hold up no stop; the port is free afterwards."""
    place, port = serve()
    with connect(port), connect(port) as half:
        half.sendall(b"GET / HTTP/1.1\r\nHost: ")
        daemon = watcher._started[-1]
        assert daemon.end(signal.SIGTERM) == Exit.WELL
    place.configure(web={"listen": f"127.0.0.1:{port}"})
    assert port_of(watcher.daemon(place)) == port


def test_it_is_served_while_the_drop_folder_is_waited_for(serve: Serve, watcher: Programs) -> None:
    """A share that is away at the start is what somebody looks for on the page."""
    place, _ = serve()
    watcher._started[-1].stop()
    os.rename(place.root / "drop", place.root / "aside")
    daemon = watcher.start("run", "--config", place.config_path)
    port = port_of(daemon)
    assert ask(port).status == 200
    os.rename(place.root / "aside", place.root / "drop")
    daemon.wait_for("daemon.started")
    wait_until(lambda: ask(port).status == 200, "it is still served")
