"""The folder for which all preparing was built: whatever is in it comes out of one pass, judged."""

import hashlib
from pathlib import Path

from tests.any_call import RAW, fill, judge
from tests.process.conftest import MakePlace
from tests.process.programs import Programs
from watcher.errors import Exit
from watcher.sandbox import Sandbox

SCALE = 0.1  # `make bench` has it at full size
LIMIT = 1_500_000


def test_whatever_a_call_centre_records_comes_out_of_one_pass_judged(
    make_place: MakePlace, service: Sandbox, watcher: Programs
) -> None:
    """Nothing lies in failed/, no submission is larger than allowed, each receipt proves what was sent."""
    place = make_place(limits={"max_upload_bytes": LIMIT}, audio={"raw": RAW})
    drop: Path = place.root / "drop"
    fill(drop, SCALE)
    dropped = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in drop.glob("[!.]*")}

    program = watcher.call("run", "--once", "--verdicts", "--config", place.config_path, seconds=300.0)

    assert program.process.returncode == Exit.WELL, program.err
    assert list(judge(place.root, service.ledger, LIMIT, dropped)) == []
    assert len(dropped) == 11
    parts = {name: len(place.receipt(f"done/{name}.json")["parts"]) for name in dropped}
    assert parts["12 minutes.wav"] == 1
    assert parts["40 minutes.wav"] == 2
    assert min(parts["an hour.wav"], parts["long.mp3"]) >= 3
