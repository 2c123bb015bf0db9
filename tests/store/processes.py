"""Processes of their own for the store's tests: they share nothing with the tests."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

_PROCESSES = multiprocessing.get_context("forkserver")  # they import once
_PROCESSES.set_forkserver_preload(["tests.store.recordings"])


def start(target: Callable[..., None], *args: Any) -> tuple[BaseProcess, Connection]:
    """A process that runs `target`, and the pipe that is its last argument."""
    ours, theirs = _PROCESSES.Pipe()
    process = _PROCESSES.Process(target=target, args=(*args, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def kill(process: BaseProcess) -> None:
    process.kill()
    process.join()
    process.close()
