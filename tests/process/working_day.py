"""Many calls, one after the other and at the same time: `python working_day.py PLAN DROP`

A process of its own, as recorders.py is, which lies beside it. PLAN is JSON: for each call the recorder that
writes it, the file that it is to write, where in DROP, after how many seconds it begins, and for how long it is
silent in the middle. Printed for each is what recorders.py prints.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import recorders  # type: ignore[import-not-found]


def write(call: dict[str, Any], drop: str) -> None:
    time.sleep(call["after"])
    path = os.path.join(drop, call["folder"], call["name"])
    if call["folder"]:
        os.mkdir(os.path.dirname(path))
        os.chmod(os.path.dirname(path), 0o2775)
    take = recorders.Take((recorders.SOURCES / call["name"]).read_bytes(), path, call["silence"])
    getattr(recorders, call["way"])(take)
    told = {"name": call["name"], "path": os.path.relpath(take.path, drop), "closed_at": take.closed_at}
    print(json.dumps(told) + "\n", end="", flush=True)


if __name__ == "__main__":
    plan = Path(sys.argv[1])
    recorders.SOURCES = plan.parent
    os.umask(0o002)
    calls = json.loads(plan.read_text())
    threads = [threading.Thread(target=write, args=(call, sys.argv[2])) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
