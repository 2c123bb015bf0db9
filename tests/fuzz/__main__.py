"""The command: every target, or those that are named, each for its share of the time; 1 where one did not hold.

FUZZ_SECONDS: for all of them together, 300 by default; FUZZ_SEED: the same inputs again; FUZZ_FINDS: the folder
for the inputs that something did not hold for, build/fuzz by default. `--replay FILE` tries one of them again.
"""

import os
import secrets
import sys
from pathlib import Path

from tests.fuzz.attempt import attempt
from tests.fuzz.campaign import Told, run
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

_SECONDS = 300.0


def main(words: list[str]) -> int:
    if words[:1] == ["--replay"]:
        return max(map(_replay, map(Path, words[1:])), default=2)
    if unknown := [name for name in words if name not in TARGETS]:
        print(f"there is no target {unknown[0]}; there are {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    targets = [TARGETS[name] for name in words or TARGETS]
    seconds = float(os.environ.get("FUZZ_SECONDS") or _SECONDS)
    seed = os.environ.get("FUZZ_SEED") or secrets.token_hex(4)
    folder = Path(os.environ.get("FUZZ_FINDS") or "build/fuzz")
    print(f"FUZZ_SEED={seed} FUZZ_SECONDS={seconds:g}: {len(targets)} targets", flush=True)
    found = sum([_fuzz(target, seed, seconds / len(targets), folder) for target in targets])
    print("everything held" if not found else f"{found} things did not hold")
    return 1 if found else 0


def _fuzz(target: Target, seed: str, seconds: float, folder: Path) -> int:
    told: Told = run(target, seed, seconds, folder)
    print(f"{target.name:14} {told.inputs:9,} inputs in {told.seconds:5.1f} s", flush=True)
    for find, path in told.finds:
        print(f"  {find.kind}\n{find.words.rstrip()}\n  again: python -m tests.fuzz --replay {path}", flush=True)
    return len(told.finds)


def _replay(path: Path) -> int:
    target = TARGETS[path.name.partition("-")[0]]
    with target.opened() as check:
        found = attempt(target, check, path.read_bytes())
    print(f"{path}: {found.words if found else 'everything held'}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
