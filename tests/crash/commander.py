"""Carries out `watcher` commands, each in a process of its own, forked from this one, which has all modules.

Starting Python for each takes ten times as long, and changes nothing that a kill could leave. In: a line of JSON
for each command, with its arguments, the files for what it says, and orders for the tracer where it is to be
followed. Out: a line with its exit code. One is carried out after the other.
"""

import gc
import json
import os
import pkgutil
import sys
from importlib import import_module
from typing import Any

from tests.crash import tracer
from watcher import cli


def main() -> None:
    """Every command that came in was carried out."""
    for module in pkgutil.walk_packages(cli.__path__, "watcher.cli."):
        import_module(module.name)
    gc.freeze()  # whoever is forked need not look through it all when he ends
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            sys.exit(_carry_out(json.loads(line)))
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _carry_out(order: dict[str, Any]) -> int:
    for name, number in (("out", 1), ("err", 2)):
        opened = os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
        os.close(opened)
    if order["followed"] is None:
        return cli.main(order["arguments"])
    orders = tracer.Orders(**order["followed"])
    return tracer.follow(lambda: cli.main(order["arguments"]), orders)


if __name__ == "__main__":
    main()
