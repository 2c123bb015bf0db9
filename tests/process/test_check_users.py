"""`check` looks as the user that runs the daemon, who owns nothing, whoever starts it."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.people import CREW, STRANGER, StrangersPython, drop, needs_acl, shared_folder
from tests.places import KEY, Place, speech
from tests.process.checks import checks_of
from tests.process.conftest import MakePlace
from tests.process.programs import ENVIRONMENT, Program, Programs
from watcher.errors import Exit
from watcher.folders.capability import CAP_LEASE, has_capability
from watcher.sandbox import Sandbox
from watcher.text import JsonObject


@pytest.fixture
def site(open_folder: Path, make_place: MakePlace, python: StrangersPython) -> Place:
    """Three folders of root's that the crew shares, and the stranger's own folder for the database."""
    for name in ("drop", "done", "failed"):
        shared_folder(open_folder / name, 0o2770)
    state = open_folder / "state"
    state.mkdir()
    os.chown(state, STRANGER.uid or 0, STRANGER.gid)
    return make_place(open_folder, store={"url": f"sqlite:///{state}/watcher.db"})


def check_as_stranger(watcher: Programs, python: StrangersPython, site: Place, key: str = KEY) -> Program:
    return watcher.call(
        *("check", "--json", "--config", site.config_path),
        executable=python.executable,
        environment=ENVIRONMENT | python.environment | {"IDENTIFAI_API_KEY": key},
        cwd="/",
        **STRANGER.spawning(),
    )


def not_well(checks: dict[str, JsonObject]) -> set[str]:
    """What is to be mended, but for the extra that the stranger's Python has not."""
    return {name for name, check in checks.items() if check["state"] != "well"} - {"codec"}


def test_the_services_user_finds_shared_folders_well(
    site: Place, watcher: Programs, python: StrangersPython
) -> None:
    """Files of others in folders of others: all is well, and only how soon they are taken is told."""
    drop(site.root / "drop" / "one.wav", speech("one"))
    needs_acl()
    subprocess.run(
        ["setfacl", "-R", "-m", f"g:{CREW}:rwX", "-d", "-m", f"g:{CREW}:rwX", site.root / "drop"], check=True
    )

    checks = checks_of(check_as_stranger(watcher, python, site))

    assert not_well(checks) == set(), checks
    assert f"uid {STRANGER.uid}" in checks["user"]["found"]
    assert "those of others, without CAP_LEASE, when their close was seen" in checks["proof"]["found"]
    assert list((site.root / "state").iterdir()) == []


def test_files_out_of_reach_are_wrong_and_named(site: Place, watcher: Programs, python: StrangersPython) -> None:
    """One that cannot be read, one that cannot be moved, a folder that cannot be looked into."""
    top = site.root / "drop"
    drop(top / "good.wav", speech("good"))
    drop(top / "hidden.wav", speech("hidden"), mode=0o600)
    (top / "locked").mkdir(mode=0o755)
    drop(top / "locked" / "call.wav", speech("locked"))
    (top / "closed").mkdir(mode=0o700)

    recordings = checks_of(check_as_stranger(watcher, python, site), Exit.INCOMPLETE)["recordings"]

    assert recordings["state"] == "wrong"
    assert "3 of 3 " in recordings["found"]
    assert all(name in recordings["found"] for name in ("hidden.wav", "locked/call.wav", "closed"))
    assert "chmod g+" in recordings["hint"]


def test_folders_that_the_user_may_not_write_are_wrong(
    site: Place, watcher: Programs, python: StrangersPython
) -> None:
    """Each with the command that opens it; a sticky drop folder too, out of which only owners may move."""
    (site.root / "done").chmod(0o2755)
    (site.root / "state").chmod(0o2555)
    checks = checks_of(check_as_stranger(watcher, python, site), Exit.CONFIG)
    assert checks["done folder"]["state"] == "wrong"
    assert checks["done folder"]["hint"].endswith(f"as root: chmod g+rwx {site.root}/done")
    assert checks["database"]["state"] == "wrong"
    assert "may not write in its folder" in checks["database"]["found"]

    (site.root / "done").chmod(0o2775)
    (site.root / "state").chmod(0o2755)
    (site.root / "drop").chmod(0o3775)
    checks = checks_of(check_as_stranger(watcher, python, site), Exit.INCOMPLETE)
    assert "sticky" in checks["drop folder"]["found"]
    assert "chmod -t" in checks["drop folder"]["hint"]


def daemon_of_stranger(watcher: Programs, python: StrangersPython, site: Place) -> Program:
    daemon = watcher.start(
        *("run", "--config", site.config_path),
        executable=python.executable,
        environment=ENVIRONMENT | python.environment | {"IDENTIFAI_API_KEY": KEY},
        cwd="/",
        **STRANGER.spawning(),
    )
    daemon.wait_for("daemon.started")
    return daemon


def test_root_looks_as_the_user_that_runs_the_daemon(
    site: Place, watcher: Programs, python: StrangersPython
) -> None:
    """With its groups, which no list has, and its key: whatever is open to root alone is wrong for the daemon."""
    daemon = daemon_of_stranger(watcher, python, site)

    checks = checks_of(check_as_root(watcher, site))

    assert not_well(checks) == {"newcomers"}, checks
    assert (
        f"looked as nobody (uid {STRANGER.uid}) (who runs the daemon, process {daemon.pid})"
        in (checks["user"]["found"])
    )
    assert checks["key"]["found"] == f"from $IDENTIFAI_API_KEY of process {daemon.pid}"
    assert {path.stat().st_uid for path in (site.root / "state").iterdir()} == {STRANGER.uid}
    daemon.stop()
    drop(site.root / "drop" / "hidden.wav", speech("hidden"), mode=0o600)
    (site.root / "done" / "closed").mkdir(mode=0o755)
    (site.root / "drop" / "closed").mkdir(mode=0o2777)
    as_root = checks_of(check_as_root(watcher, site, unit=UNIT), Exit.INCOMPLETE)
    as_stranger = checks_of(check_as_stranger(watcher, python, site), Exit.INCOMPLETE)
    for name in ("recordings", "subfolders"):
        assert as_root[name] == as_stranger[name]
        assert as_root[name]["state"] == "wrong"


UNIT = f"""\
[Service]
ExecStart=/opt/watcher/bin/watcher run --config {{config}}
LoadCredential=identifai.key:{{key}}
User=nobody
SupplementaryGroups={CREW}
CapabilityBoundingSet=CAP_LEASE
AmbientCapabilities=CAP_LEASE
"""


def check_as_root(
    watcher: Programs, site: Place, *more: str, unit: str = "", environment: dict[str, str] | None = None
) -> Program:
    """`unit`: what systemd would start, and hand a key that root alone can read."""
    key = site.root / "roots.key"
    key.write_text(KEY)
    key.chmod(0o600)
    units = site.root / "units"
    units.mkdir(exist_ok=True)
    (units / "watcher.service").write_text(unit.format(config=site.config_path, key=key))
    told = ENVIRONMENT | {"SYSTEMD_UNIT_PATH": str(units)} | (environment or {})
    return watcher.call("check", "--json", "--config", site.config_path, *more, environment=told)


def test_before_the_first_start_root_looks_as_the_user_that_the_unit_names(site: Place, watcher: Programs) -> None:
    """With the groups, the capability and the key that systemd will give it. Nothing is left that is root's."""
    program = check_as_root(watcher, site, unit=UNIT)

    checks = checks_of(program)
    assert not_well(checks) == {"newcomers"}, checks
    assert (
        f"looked as nobody (uid {STRANGER.uid}) (User= in {site.root}/units/watcher.service)"
        in (checks["user"]["found"])
    )
    assert checks["key"]["found"] == f"from {site.root}/roots.key"
    proof = "recordings are taken as soon as they are closed and provably complete"
    assert (checks["proof"]["found"] == proof) is has_capability(CAP_LEASE)
    assert json.loads(program.out)["user"]["uid"] == STRANGER.uid
    assert list((site.root / "state").iterdir()) == []


def test_a_unit_whose_sandbox_leaves_a_folder_out_is_wrong(site: Place, watcher: Programs) -> None:
    """`check` is not confined as the daemon will be, so it reads what the unit says. What it advises helps."""
    strict = f"{UNIT}ProtectSystem=strict\nProtectHome=yes\nReadWritePaths=-/srv\n"
    checks = checks_of(check_as_root(watcher, site, unit=strict), Exit.INCOMPLETE)
    assert checks["unit"]["state"] == "wrong"
    assert f"{site.root}/drop (ProtectSystem=strict)" in checks["unit"]["found"]
    setting = checks["unit"]["hint"].partition("below [Service] add ")[2].partition(";")[0]
    assert setting == f"ReadWritePaths={site.root}"

    drop_in = site.root / "units/watcher.service.d"
    drop_in.mkdir()
    (drop_in / "override.conf").write_text(f"[Service]\n{setting}\n")
    assert checks_of(check_as_root(watcher, site, unit=strict))["unit"]["state"] == "well"


def test_without_daemon_or_unit_root_looks_as_the_one_whose_the_files_are(site: Place, watcher: Programs) -> None:
    """By his groups as they are listed: the crew is not among them. A key that he may not read is none."""
    own = site.root / "identifai.key"
    own.write_text(KEY)
    own.chmod(0o600)

    checks = checks_of(check_as_root(watcher, site), Exit.CONFIG)

    assert f"looked as nobody (uid {STRANGER.uid}) (the owner of the database's folder)" in checks["user"]["found"]
    assert [name for name, check in checks.items() if check["state"] == "wrong"] == [
        "key",
        "drop folder",
        "done folder",
        "failed folder",
    ]
    assert "Permission denied" in checks["key"]["found"]
    assert checks_of(check_as_root(watcher, site, environment={"IDENTIFAI_API_KEY": KEY}), Exit.INCOMPLETE)


def test_root_can_name_as_whom_it_looks(site: Place, watcher: Programs, python: StrangersPython) -> None:
    """Root, too, who may do everything; a user who does not exist is wrong usage, as for anybody else."""
    assert (
        "who may do everything"
        in (checks_of(check_as_root(watcher, site, "--as", "root", unit=UNIT))["user"]["found"])
    )
    checks = checks_of(check_as_root(watcher, site, "--as", "daemon", unit=UNIT), Exit.CONFIG)
    assert checks["user"]["found"].startswith("looked as daemon (uid ")
    assert checks["database"]["state"] == "wrong"
    assert check_as_root(watcher, site, "--as", "noSuchUser").process.returncode == Exit.USAGE
    program = watcher.call(
        *("check", "--config", site.config_path, "--as", "root"),
        executable=python.executable,
        environment=ENVIRONMENT | python.environment,
        cwd="/",
        **STRANGER.spawning(),
    )
    assert program.process.returncode == Exit.USAGE
    assert "only root can check as root" in program.err


def test_a_configuration_that_only_root_can_read_is_wrong(site: Place, watcher: Programs) -> None:
    """And so is a unit that names nobody who exists; all the rest is told all the same."""
    site.config_path.chmod(0o600)
    checks = checks_of(check_as_root(watcher, site, unit=UNIT), Exit.CONFIG)
    assert checks["configuration"]["state"] == "wrong"
    assert "nobody" in checks["configuration"]["hint"]
    assert checks["filing"]["state"] == "well"

    site.config_path.chmod(0o644)
    checks = checks_of(
        check_as_root(
            watcher, site, unit=UNIT.replace("=nobody", "=noSuchUser"), environment={"IDENTIFAI_API_KEY": KEY}
        ),
        Exit.CONFIG,
    )
    assert checks["user"]["state"] == "wrong"
    assert "noSuchUser, who does not exist" in checks["user"]["found"]


def test_a_key_that_only_the_daemon_was_handed_is_no_fault(
    site: Place, service: Sandbox, watcher: Programs, python: StrangersPython
) -> None:
    """systemd hands it to the daemon alone: beside it, its user is told how to try the key; before it, 78."""
    key_file = site.root / "identifai.key"
    key_file.write_text(KEY)
    key_file.chmod(0o600)

    checks = checks_of(check_as_stranger(watcher, python, site, key=""), Exit.CONFIG)
    assert checks["key"]["state"] == "wrong"
    daemon = daemon_of_stranger(watcher, python, site)
    checks = checks_of(check_as_stranger(watcher, python, site, key=""))
    assert checks["key"]["state"] == "warning"
    assert "sudo watcher check" in checks["key"]["hint"]
    assert checks["service"]["state"] == "warning"
    assert daemon.stop() == Exit.WELL


def test_subfolders_of_done_and_failed_that_cannot_be_written_are_wrong(
    site: Place, watcher: Programs, python: StrangersPython
) -> None:
    """As a person's `mkdir` leaves them; as deep as they lie, and where a link has the name of one."""
    for folder in ("drop/a", "drop/a/b", "drop/linked", "done/a", "done/a/b", "failed/c", "elsewhere"):
        shared_folder(site.root / folder, 0o2770)
    (site.root / "failed/linked").symlink_to(site.root / "elsewhere")
    checks = checks_of(check_as_stranger(watcher, python, site), Exit.INCOMPLETE)
    assert checks["subfolders"]["state"] == "wrong"
    assert "linked/x in the failed folder" in checks["subfolders"]["found"]
    assert "move it aside" in checks["subfolders"]["hint"]
    (site.root / "failed/linked").unlink()
    assert checks_of(check_as_stranger(watcher, python, site))["subfolders"]["state"] == "well"

    (site.root / "done/a/b").chmod(0o755)
    (site.root / "failed/c").chmod(0o700)
    checks = checks_of(check_as_stranger(watcher, python, site), Exit.INCOMPLETE)

    assert checks["subfolders"]["state"] == "wrong"
    assert "a/b in the done folder" in checks["subfolders"]["found"]
    assert "c in the failed folder" in checks["subfolders"]["found"]
    subprocess.run(checks["subfolders"]["hint"].partition("as root: ")[2], shell=True, check=True)
    assert checks_of(check_as_stranger(watcher, python, site))["subfolders"]["state"] == "well"


def test_what_was_filed_and_everybody_can_look_at_is_a_warning(
    site: Place, watcher: Programs, python: StrangersPython
) -> None:
    """Voices, and names with telephone numbers. Where nobody can come to the folder, its own mode is no matter."""
    (site.root / "done").chmod(0o2775)
    (site.root / "failed").chmod(0o2771)
    checks = checks_of(check_as_stranger(watcher, python, site))
    assert checks["privacy"]["state"] == "warning"
    assert "every user of this machine can look into done/ and failed/" in checks["privacy"]["found"]
    subprocess.run(checks["privacy"]["hint"].partition(": ")[2].partition(" (")[0], shell=True, check=True)
    assert checks_of(check_as_stranger(watcher, python, site))["privacy"]["state"] == "well"
    assert STRANGER.does(os.access, site.root / "done", os.R_OK | os.W_OK | os.X_OK)

    (site.root / "done").chmod(0o2775)
    os.chown(site.root, 0, CREW)
    site.root.chmod(0o750)
    assert checks_of(check_as_stranger(watcher, python, site))["privacy"]["state"] == "well"
