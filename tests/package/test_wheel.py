"""What is shipped: the wheel has all that runs and nothing else, and works where there is no checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.people import PROJECT
from tests.places import KEY, Place
from tests.process.programs import CLOCK
from watcher import __version__
from watcher.errors import Exit
from watcher.sandbox import Sandbox

_NAME = f"identifai_watcher-{__version__}"


@dataclass(frozen=True)
class Installed:
    """The wheel, installed into an environment of its own, and a folder to work in that is no checkout."""

    environment: Path
    folder: Path

    def run(self, program: str, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """`program` of that environment has ended."""
        return subprocess.run(
            [self.environment / "bin" / program, *arguments],
            cwd=self.folder,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def says(self, program: str, *arguments: str | Path) -> str:
        """What `program`, which must succeed without complaint, prints."""
        done = self.run(program, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.strip()


def build(source: Path, target: Path, kind: str) -> Path:
    """The distribution of this kind, built from `source` without network; `source` is left as it was."""
    done = subprocess.run(
        [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", target, source],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = target.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(PROJECT, tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(PROJECT, tmp_path_factory.mktemp("sdist"), "sdist")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The dependencies are lent by the environment that runs the tests, its own watcher is not.

    A .pth file makes that environment's packages visible behind the new one's; .pth files among those, such as
    that of an editable install, are not read.
    """
    environment = tmp_path_factory.mktemp("installed") / "environment"
    venv.create(environment, symlinks=True, with_pip=False)
    pip = [sys.executable, "-m", "pip", "--python", str(environment), "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", "--no-index", "--no-deps", str(wheel)], check=True, timeout=60)
    own = sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)})
    lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    Path(own, "lent.pth").write_text("".join(f"{folder}\n" for folder in sorted(lent)))
    return Installed(environment, tmp_path_factory.mktemp("elsewhere"))


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def sources(folder: str, pattern: str) -> set[str]:
    """The paths, relative to the checkout, of the files below a folder of it."""
    return {str(path.relative_to(PROJECT)) for path in (PROJECT / folder).rglob(pattern)}


# What is in it


def test_the_wheel_holds_the_package_with_its_migrations_and_nothing_else(wheel: Path) -> None:
    """Every module and template, py.typed and every migration is in the wheel; tests, units and caches are not."""
    migrations = {f"watcher/{path}" for path in sources("migrations", "*.*")}
    expected = {path for path in sources("watcher", "*.*") | migrations if not path.endswith(".pyc")}
    assert "watcher/py.typed" in expected
    assert len(migrations) >= 2
    found = names(wheel)
    code = {name for name in found if not name.startswith(f"{_NAME}.dist-info/")}
    assert code == expected
    assert f"{_NAME}.dist-info/licenses/LICENSE" in found


def test_the_wheel_is_for_every_machine_and_names_its_command(wheel: Path) -> None:
    """It is pure Python for Linux of any kind, and installs the command `watcher`."""
    assert wheel.name == f"{_NAME}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        assert "watcher = watcher.cli:main" in archive.read(f"{_NAME}.dist-info/entry_points.txt").decode()
        metadata = archive.read(f"{_NAME}.dist-info/METADATA").decode()
    assert "Name: identifai-watcher\n" in metadata
    assert f"Version: {__version__}\n" in metadata


def test_the_source_distribution_holds_what_a_site_and_a_developer_need(sdist: Path) -> None:
    """The units, the example of a configuration, the pinned versions and the tests come with the sources."""
    with tarfile.open(sdist) as archive:
        found = {name.removeprefix(f"{_NAME}/") for name in archive.getnames()}
    needed = {"pyproject.toml", "README.md", "LICENSE", "Makefile", "requirements.txt", "config.example.toml"}
    needed |= {"CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"}
    needed |= sources("systemd", "*.*") | sources("tests", "*.py") | sources("tests", "*.yaml")
    needed |= sources("watcher", "*.py") | sources("migrations", "*.py")
    assert needed - found == set()
    assert not [name for name in found if "__pycache__" in name or name.endswith((".db", ".key"))]


def test_the_source_distribution_builds_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    """Whoever builds from the source distribution gets what is shipped."""
    with tarfile.open(sdist) as archive:
        if hasattr(tarfile, "data_filter"):  # Python 3.11.4 has it, Debian 12's 3.11.2 does not
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(tmp_path)  # our own archive, made a moment ago
    rebuilt = build(tmp_path / _NAME, tmp_path / "wheel", "wheel")
    assert names(rebuilt) == names(wheel)


# That it works


def test_the_installed_package_is_the_one_that_is_tested(installed: Installed) -> None:
    """What runs below comes from the wheel, and the checkout is nowhere on the way."""
    program = "import json, sys, watcher; print(json.dumps([watcher.__file__, sys.path]))"
    file, path = json.loads(installed.says("python", "-c", program))
    assert Path(file).is_relative_to(installed.environment)
    assert str(PROJECT) not in {os.path.realpath(folder) for folder in path if folder}  # "": where it was started


def test_the_command_says_its_version_and_its_help(installed: Installed) -> None:
    """`watcher` and `python -m watcher` are the same program, and need nothing to say what they can do."""
    assert installed.says("watcher", "--version") == f"identifai-watcher {__version__}"
    assert installed.says("python", "-m", "watcher", "--help") == installed.says("watcher", "--help")


def test_a_new_database_is_made_from_the_packaged_migrations(installed: Installed, tmp_path: Path) -> None:
    """`watcher migrate` finds the migrations in the package; a second time there is nothing to do."""
    config = tmp_path / "config.toml"
    config.touch()
    assert "was created with version" in installed.says("watcher", "migrate", "--config", config)
    assert "already has this version" in installed.says("watcher", "migrate", "--config", config)


def test_a_recording_is_filed_by_the_installed_program(installed: Installed, tmp_path: Path) -> None:
    """From a folder that is no checkout, a recording goes from drop/ to done/ with its receipt, charged once."""
    with Sandbox(KEY) as service:
        place = Place(tmp_path, service.url, CLOCK)
        place.drop("agent-7/call.wav")
        done = installed.run("watcher", "run", "--once", "--config", place.config_path, IDENTIFAI_API_KEY=KEY)
        assert done.returncode == Exit.WELL, done.stderr
        assert service.charged == 1
    assert not (tmp_path / "drop/agent-7/call.wav").exists()
    receipt = json.loads((tmp_path / "done/agent-7/call.wav.json").read_text())
    assert receipt["identifier"]
    assert (tmp_path / "done/agent-7/call.wav").exists()
