"""What pytest has of the proof: every crossing of the three doors, and an account that four sites share.

`make test` takes a part of the crossings; here EVERY_CROSSING is set. What a test did it tells pytest as a
property, in README's words, with the number.
"""

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from functools import partial
from pathlib import Path

from tests.crash.trial import WORKERS, Run, Trial
from tests.people import PROJECT, missing


def _run_tests(run: Run, files: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory() as name:
        results = Path(name, "results.xml")
        command = [
            *(sys.executable, "-m", "pytest", "-q", "-n", f"{WORKERS}", "-p", "no:cacheprovider"),
            *(f"--junitxml={results}", *(run.only or files)),
        ]
        pytest = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=os.environ | {"EVERY_CROSSING": "1"},
            stdout=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
        )
        try:
            said, _ = pytest.communicate(timeout=run.seconds)
        except subprocess.TimeoutExpired:
            pytest.terminate()
            run.judge(files[0], [f"it did not end within {run.seconds:.0f} s"])
            return
        cases = list(ET.parse(results).iter("testcase")) if results.exists() else []
        if not cases:
            run.judge(files[0], [said])
        for case in cases:
            for told in case.iter("property"):
                run.counts[told.attrib["name"]] += int(told.attrib["value"])
            wrong = [*case.iter("failure"), *case.iter("error")]
            where = f"{case.attrib['classname'].replace('.', '/')}.py::{case.attrib['name']}"
            run.judge(f"'{where}'", [told.text or "" for told in wrong])
        skipped = [told.attrib.get("message", "") for case in cases for told in case.iter("skipped")]
        if skipped and len(skipped) == len(cases):
            missing(skipped[0])


TRIALS = (
    Trial(
        "crossings",
        "the process ends before and after every crossing of its three doors (service, folders, database), again "
        "during recovery, and while it removes",
        minutes=20,
        run=partial(_run_tests, files=("tests/crash/test_crashes.py", "tests/crash/test_removals.py")),
    ),
    Trial(
        "account",
        "four sites share an account: its rate, caps and pauses hold for all together",
        minutes=15,
        run=partial(_run_tests, files=("tests/process/test_account.py",)),
    ),
)
