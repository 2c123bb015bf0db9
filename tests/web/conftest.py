"""What the tests of the page share with those of the program: it is the real daemon that serves it."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.places import Place
from tests.process.conftest import MakePlace, make_place, service, watcher
from tests.process.programs import Programs
from tests.web.asking import port_of

__all__ = ["make_place", "service", "watcher"]  # fixtures

Serve = Callable[..., tuple[Place, int]]


@pytest.fixture
def serve(make_place: MakePlace, watcher: Programs) -> Serve:
    """Start a daemon with its page: serve(web={"read_only": True}). Returns its place, and the port."""

    def start(web: dict[str, Any] | None = None, **settings: dict[str, Any]) -> tuple[Place, int]:
        place = make_place(web={"listen": "127.0.0.1:0"} | (web or {}), **settings)
        return place, port_of(watcher.daemon(place))

    return start
