"""`python -m tests.network [SHARE…] [--only WORDS] [--write]`: every scenario on every share, and the table of it.

`--only` is for pytest's `-k`. `--write` puts the table into README, between its two marks.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.network import scenarios
from tests.network.machine import run_inside
from tests.network.shares import IN_MACHINE, KINDS
from tests.process.programs import CLOCK
from tests.readme import write_table

SECONDS = 3600.0
_NAMES = {"nfs4.2": "NFS 4.2", "nfs3": "NFS 3", "smb": "SMB", "smb-nobrl": "SMB, nobrl", "sshfs": "sshfs"}
Outcomes = dict[str, str]


def try_share(
    kind: str, *, only: str = "", recordings: int = 50, seconds: float = SECONDS
) -> tuple[Outcomes, str]:
    """What became of each scenario on this share (passed, failed, skipped), by its name; and what pytest said."""
    with tempfile.TemporaryDirectory(prefix="watcher-shares-", dir="/var/tmp") as name:
        results = Path(name, "results.xml")
        command = [
            *("env", f"WATCHER_SHARE={kind}", f"WATCHER_RECORDINGS={recordings}", sys.executable, "-m", "pytest"),
            *("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "timeout=0", f"--junitxml={results}"),
            *(("-k", only) if only else ()),
            str(scenarios.__file__),
        ]
        if kind in IN_MACHINE:
            _, said = run_inside(command, seconds=seconds)
        else:
            run = subprocess.run(
                command, capture_output=True, text=True, timeout=seconds, check=False, errors="backslashreplace"
            )
            said = run.stdout + run.stderr
        return (_outcomes(results) if results.exists() else {}), said


def _outcomes(results: Path) -> Outcomes:
    found: Outcomes = {}
    for case in ET.parse(results).iter("testcase"):
        kinds = {child.tag for child in case}
        name = case.get("name", "").partition("[")[0]
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        if found.get(name) != "failed":
            found[name] = outcome
    return found


def make_table(found: dict[str, Outcomes]) -> list[str]:
    """Rows are what was tried, columns the file systems."""
    names = [name for name in vars(scenarios) if name.startswith("test_")]
    lines = ["| | " + " | ".join(_NAMES[kind] for kind in found) + " |", "|---" * (len(found) + 1) + "|"]
    words = {"passed": "holds", "failed": "**fails**", "skipped": "-", "": "not tried"}
    for name in names:
        told = " ".join((vars(scenarios)[name].__doc__ or name).split())
        cells = [words[outcomes.get(name, "")] for outcomes in found.values()]
        lines.append(f"| {told} | " + " | ".join(cells) + " |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.network")
    parser.add_argument("shares", nargs="*", metavar="SHARE", help=", ".join(KINDS))
    parser.add_argument("--only", default="")
    parser.add_argument("--recordings", type=int, default=50)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    found: dict[str, Outcomes] = {}
    for kind in options.shares or KINDS:
        began = CLOCK.monotonic()
        found[kind], said = try_share(kind, only=options.only, recordings=options.recordings)
        if "failed" in found[kind].values() or not found[kind]:
            print(said)
        print(f"{kind}: {CLOCK.monotonic() - began:.0f} s, {found[kind]}", flush=True)
    table = make_table(found)
    print(*table, sep="\n")
    if options.write:
        write_table("shares", table)
    is_well = all(outcomes and "failed" not in outcomes.values() for outcomes in found.values())
    return os.EX_OK if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
