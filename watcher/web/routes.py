"""What the page is made of: the routes, and the templates and files beside them."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Match, Mount, Route
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

    def say_error(_: Request, error: Any) -> Response:
        """What cannot be shown now, and what to do about it."""
        _log.warning("web.failed", reason=error.message, hint=error.hint)
        veil = site.config.veil
        said = [veil.hide_in(each, ()) if veil else each for each in (error.message, error.hint)]
        return PlainTextResponse("\n".join([*said, ""]), HTTPStatus.SERVICE_UNAVAILABLE)

    pages, monitoring = Pages(context), Monitoring(context, site.failures)
    app = Starlette(
        routes=[
            *pages.routes(),
            Route("/healthz", monitoring.healthz),
            Route("/metrics", monitoring.metrics),
            Mount("/static", StaticFiles(packages=[("watcher.web", "static")])),
            Route("/{path:path}/", _leave_slash),
        ],
        exception_handlers={WatcherError: say_error, Exception: _say_fault},
    )
    app.router.redirect_slashes = False  # it would add one to whatever address there is not
    return app


def _leave_slash(request: Request) -> Response:
    """Send to the page of this address without its last slash: by its path, as only the browser knows the rest."""
    path = "/" + request.path_params["path"].strip("/")  # with two before it, it would name another host
    asked = dict(request.scope) | {"path": path}
    if not any(route.matches(asked)[0] is Match.FULL for route in request.app.routes[:-1]):
        raise HTTPException(HTTPStatus.NOT_FOUND)
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"{quote(path)}{query}")


def _say_fault(_: Request, __: Exception) -> Response:
    return PlainTextResponse(
        "This is a fault of the program: its log says more.\n", HTTPStatus.INTERNAL_SERVER_ERROR
    )
