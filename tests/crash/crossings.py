"""What pytest has of the proof: every crossing of the three doors, and an account that four sites share.

`make test` takes a part of the crossings; here EVERY_CROSSING is set. What a test did it tells pytest as a
property, in README's words, with the number.
"""

import os
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from functools import partial
from pathlib import Path

from tests.crash import bounded
from tests.crash.trial import WORKERS, Run, Trial
from tests.people import PROJECT, missing
from tests.process.programs import CLOCK

WINDOW_SECONDS = 15
"""Of the account's rate, in the longest of its tests."""
_OF_CYCLES = 0.6  # of the time: the others run beside it, or after it
_PATIENCE_SECONDS = 600.0


def _run_tests(run: Run, files: tuple[str, ...], *, is_shuffled: bool = False) -> None:
    with tempfile.TemporaryDirectory() as name:
        results = Path(name, "results.xml")
        command = [
            *(sys.executable, "-m", "pytest", "-q", "-n", f"{WORKERS}"),
            *("-p", "no:cacheprovider", "-o", "timeout=0"),
            *("-p", bounded.__name__, f"--begin-until={CLOCK.monotonic() + run.seconds}"),
            *((f"--shuffled={run.seed}",) if is_shuffled else ()),
            *(f"--junitxml={results}", *(run.only or files)),
        ]
        cycles = int(run.seconds * _OF_CYCLES / WINDOW_SECONDS)
        pytest = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=os.environ | {"EVERY_CROSSING": "1", "ACCOUNT_CYCLES": f"{max(3, cycles)}"},
            stdout=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
        )
        said = ""
        try:
            said, _ = pytest.communicate(timeout=run.seconds + _PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            run.judge(None, [f"what had begun did not end within {_PATIENCE_SECONDS:.0f} s"])
        finally:
            if pytest.poll() is None:
                pytest.send_signal(signal.SIGINT)
                said, _ = pytest.communicate()
            _count(run, results, said)


def _count(run: Run, results: Path, said: str) -> None:
    cases = list(ET.parse(results).iter("testcase")) if results.exists() else []
    if not cases:
        run.judge(None, [said])
    for case in cases:
        for told in case.iter("property"):
            run.counts[told.attrib["name"]] += int(told.attrib["value"])
        wrong = [*case.iter("failure"), *case.iter("error")]
        where = f"{case.attrib['classname'].replace('.', '/')}.py::{case.attrib['name']}"
        run.judge(f"'{where}'", [told.text or "" for told in wrong])
    skipped = [told.attrib.get("message", "") for case in cases for told in case.iter("skipped")]
    left_over = skipped.count(bounded.OVER)
    if cases:
        run.counts[f"of {len(cases)} scenes"] = len(cases) - left_over
    if skipped and len(skipped) == len(cases) and not left_over:
        missing(skipped[0])


TRIALS = (
    Trial(
        "crossings",
        "the process ends before and after every crossing of its three doors (service, folders, database), again "
        "during recovery, and while it removes",
        minutes=14,
        run=partial(
            _run_tests, files=("tests/crash/test_crashes.py", "tests/crash/test_removals.py"), is_shuffled=True
        ),
    ),
    Trial(
        "account",
        "four sites share an account: its rate, caps and pauses hold for all together",
        minutes=4,
        run=partial(_run_tests, files=("tests/process/test_account.py",)),
    ),
)
