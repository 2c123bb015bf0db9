"""What the page is made of: the routes, and the templates and files beside them."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from watcher import logs
from watcher.errors import WatcherError
from watcher.journey.site import Site
from watcher.views.context import CommandContext
from watcher.web.gate import Rules, allowed_hosts
from watcher.web.listener import bind, serving, split_address
from watcher.web.middleware import Gate
from watcher.web.monitoring import Monitoring
from watcher.web.pages import Pages
from watcher.web.password import read_password

_log = logs.get_logger(__name__)


@contextmanager
def page_of(site: Site) -> Iterator[None]:
    """Serve the page of this site during the block.

    Raises ConfigError where the address cannot be used or the password's file is not one.
    """
    web, password = site.config.web, None
    if web.password_file is not None:
        password, exposed = read_password(web.password_file)
        if exposed:
            _log.warning("web.password_exposed", reason=exposed)
    bound = bind(web.listen, is_open=password is not None)
    host, port = split_address(web.listen)[0], bound.getsockname()[1]
    rules = Rules(allowed_hosts(web.hosts, host, port), read_only=web.read_only)
    shown = f"[{host}]" if ":" in host else host
    with serving(Gate(make_app(site), rules, password, site.clock), bound):
        _log.info("web.listening", url=f"http://{shown}:{port}/", read_only=web.read_only)
        yield


def make_app(site: Site) -> Starlette:
    """Return the application. What reads or decides runs in a thread that may wait."""

    def context() -> CommandContext:
        """A context of its own for each request: it remembers what it has found out about the folders."""
        return CommandContext(site.config, site.store, site.clock)

    pages, monitoring = Pages(context), Monitoring(context, site.failures)
    return Starlette(
        routes=[
            *pages.routes(),
            Route("/healthz", monitoring.healthz),
            Route("/metrics", monitoring.metrics),
            Mount("/static", StaticFiles(packages=[("watcher.web", "static")])),
        ],
        exception_handlers={WatcherError: _say_error, Exception: _say_fault},
    )


def _say_error(_: Request, error: Any) -> Response:
    """What cannot be shown now, and what to do about it."""
    _log.warning("web.failed", reason=error.message, hint=error.hint)
    return PlainTextResponse(f"{error.message}\n{error.hint}\n", HTTPStatus.SERVICE_UNAVAILABLE)


def _say_fault(_: Request, __: Exception) -> Response:
    return PlainTextResponse(
        "This is a fault of the program: its log says more.\n", HTTPStatus.INTERNAL_SERVER_ERROR
    )
