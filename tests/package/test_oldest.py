"""The client works with the oldest HTTP libraries that the project allows; with the newest, all tests run."""

import os
import subprocess
import sys
from pathlib import Path

from tests.package.test_lock import pinned
from tests.people import PROJECT, missing

LOCK = "requirements-oldest.txt"
THE_CLIENTS = ("tests/client", "tests/pure/test_upload.py")


def test_the_client_works_with_the_oldest_libraries(tmp_path: Path) -> None:
    """Its own tests pass with them, over real sockets and TLS: it builds on the libraries' inner parts."""
    oldest = tmp_path / "oldest"
    environment = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}
    install(oldest, environment)
    environment |= {"PYTHONPATH": str(oldest)}  # before what is installed beside the tests
    ask = "import requests, urllib3; print(requests.__version__, urllib3.__version__)"
    said = subprocess.run(
        [sys.executable, "-c", ask], env=environment, cwd=PROJECT, check=True, capture_output=True, text=True
    )
    locked = pinned(LOCK)
    assert said.stdout.split() == [*locked["requests"], *locked["urllib3"]]
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *THE_CLIENTS],
        env=environment,
        cwd=PROJECT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert tests.returncode == 0, tests.stdout[-8_000:] + tests.stderr[-2_000:]


def install(folder: Path, environment: dict[str, str]) -> None:
    """The oldest libraries lie in the folder, and nothing else. Without a package index the test ends here."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--retries",
        "1",
        "--no-deps",
        "--require-hashes",
    ]
    said = subprocess.run(
        [*command, "--target", str(folder), "--requirement", LOCK],
        env=environment,
        cwd=PROJECT,
        check=False,
        capture_output=True,
        text=True,
    )
    if said.returncode != 0:
        missing(f"the oldest HTTP libraries cannot be installed; is the package index reachable? {said.stderr}")
