"""The proof: `python -m tests.crash [TRIAL…] [--only PLAY…] [--seed N] [--minutes N] [--write]`.

Every trial, each for its own time unless `--minutes` gives another; `--seed` and `--only` do again what was told
of a find. `--write` puts what was counted into README's table; a trial that was not run keeps its row.
"""

import argparse
import os
import random
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from tests.crash import clocks, crossings, devices, pair, plays, power, reorder
from tests.crash.trial import Run, Trial, make_rows
from tests.people import PROJECT
from tests.readme import read_table, write_table
from watcher.clock import SystemClock

TRIALS: tuple[Trial, ...] = (
    *crossings.TRIALS,
    *plays.TRIALS,
    pair.TRIAL,
    power.TRIAL,
    reorder.TRIAL,
    devices.TRIAL,
    clocks.TRIAL,
)
_TABLE = "crash"


def main(arguments: list[str]) -> int:
    """Everything was tried. 0 where nothing was found wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash")
    known = {trial.name: trial for trial in TRIALS}
    parser.add_argument("trials", nargs="*", metavar="TRIAL", help=", ".join(known))
    parser.add_argument("--only", nargs="+", default=[], metavar="PLAY", help="of one trial, these plays")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--minutes", type=float, help="for each trial")
    parser.add_argument("--write", action="store_true", help="write the table into README")
    options = parser.parse_args(arguments)
    if unknown := set(options.trials) - known.keys():
        parser.error(f"no trial {', '.join(unknown)}; there are {', '.join(known)}")
    if options.only and (len(options.trials) != 1 or options.write):
        parser.error("--only is for one trial, and writes no row")
    chosen = [known[name] for name in options.trials] or list(TRIALS)
    where = _find_revision()
    print(f"seed {options.seed}, revision {where}", flush=True)
    ended, skipped = {}, []
    for trial in chosen:
        minutes = trial.minutes if options.minutes is None else options.minutes
        run = Run(trial.name, options.seed, minutes * 60, tuple(options.only))
        try:
            trial.run(run)
        except pytest.skip.Exception as reason:
            print(f"{trial.name}: skipped: {reason}", flush=True)
            skipped.append(trial.name)
            continue
        ended[trial.name] = run
        told = ", ".join(f"{number} {what}" for what, number in run.counts.items())
        print(f"{trial.name}: {told}; {run.violations} violations ({run.lasts:.0f} s)", flush=True)
    rows = make_rows(read_table(_TABLE), TRIALS, ended, where)
    print(*rows, sep="\n")
    if skipped:
        print(f"not tried on this machine: {', '.join(skipped)}")
    if options.write:
        write_table(_TABLE, rows)
    return 1 if any(run.violations for run in ended.values()) else os.EX_OK


def _find_revision() -> str:
    """The commit, with a plus where the tree is not quite that, and the day."""
    day = datetime.fromtimestamp(SystemClock().now(), UTC).date()
    commit, changed = (
        subprocess.run(["git", *words], cwd=PROJECT, capture_output=True, text=True, check=False).stdout.strip()
        for words in (("describe", "--always"), ("status", "--porcelain", "--", "watcher", "migrations", "tests"))
    )
    return f"{commit or 'no commit'}{'+' if changed else ''}, {day}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
