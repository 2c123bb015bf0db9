"""The proof: `python -m tests.crash [TRIAL…] [--only PLAY…] [--seed N] [--minutes N] [--write]`.

Every trial, each for its own time unless `--minutes` gives another; `--seed` and `--only` do again what was told
of a find. `--write` puts what was counted into README's table, as soon as a trial is over or was interrupted; a
trial that was not run keeps its row.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import traceback
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
_INTERRUPTED = 128 + signal.SIGINT


def main(arguments: list[str]) -> int:
    """Everything was tried that can be here. 0: nothing was found wrong; 1: something was; 130: interrupted."""
    options = _read_options(arguments)
    chosen = [trial for trial in TRIALS if trial.name in options.trials] if options.trials else list(TRIALS)
    minutes = {trial.name: trial.minutes if options.minutes is None else options.minutes for trial in chosen}
    where = _find_revision()
    print(f"seed {options.seed}, revision {where}, {sum(minutes.values()):g} minutes", flush=True)
    ended: dict[str, Run] = {}
    untried = []
    is_interrupted = False
    for trial in chosen:
        print(f"{trial.name}: {trial.told}", flush=True)
        run = Run(trial.name, options.seed, minutes[trial.name] * 60, tuple(options.only))
        try:
            reason = _try(trial, run)
        except KeyboardInterrupt:
            is_interrupted, reason = True, "interrupted"
        if reason:
            untried.append(f"not tried: {trial.name}: {reason}")
            print(untried[-1], flush=True)
        if run.counts.total() or run.violations:
            ended[trial.name] = run
            told = ", ".join(f"{number} {what}" for what, number in run.counts.items())
            print(f"{trial.name}: {told}; {run.violations} violations ({run.lasts:.0f} s)", flush=True)
            if options.write:
                write_table(_TABLE, make_rows(read_table(_TABLE), TRIALS, {trial.name: run}, where))
        if is_interrupted:
            break
    print(*make_rows(read_table(_TABLE), TRIALS, ended, where), *untried, sep="\n")
    if is_interrupted:
        return _INTERRUPTED
    return 1 if any(run.violations for run in ended.values()) else os.EX_OK


def _read_options(arguments: list[str]) -> argparse.Namespace:
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
    return options


def _try(trial: Trial, run: Run) -> str:
    """The trial was carried out, or why nothing of it was. What stops it before its end is a find."""
    try:
        trial.run(run)
    except pytest.skip.Exception as skipped:
        return str(skipped)
    except (Exception, pytest.fail.Exception):  # noqa: BLE001 — the trials after it are carried out all the same
        run.judge(None, [traceback.format_exc()])
    return "" if run.counts.total() or run.violations else "nothing was done in the time: give it more --minutes"


def _find_revision() -> str:
    """The commit, with a plus where the tree is not quite that, and the day."""
    day = datetime.fromtimestamp(SystemClock().now(), UTC).date()
    commit, changed = (
        subprocess.run(["git", *words], cwd=PROJECT, capture_output=True, text=True, check=False).stdout.strip()
        for words in (("describe", "--always"), ("status", "--porcelain", "--", "watcher", "migrations", "tests"))
    )
    return f"{commit or 'no commit'}{'+' if changed else ''}, {day}"


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
