"""What the page is made of: the routes, and the templates and files beside them."""

from contextlib import AbstractContextManager, nullcontext

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from watcher import __version__, logs
from watcher.journey.site import Site
from watcher.views.context import CommandContext
from watcher.views.status import read_status
from watcher.web.gate import Rules, allowed_hosts
from watcher.web.listener import bind, serving, split_address
from watcher.web.middleware import Gate
from watcher.web.password import read_password

_log = logs.get_logger(__name__)


def page_of(site: Site) -> AbstractContextManager[None]:
    """Return the page of this site, which is served while it is entered; nothing where web.listen is not set.

    Raises ConfigError where the address cannot be used or the password's file is not one.
    """
    web = site.config.web
    if not web.listen:
        return nullcontext()
    password = None
    if web.password_file is not None:
        password, exposed = read_password(web.password_file)
        if exposed:
            _log.warning("web.password_exposed", reason=exposed)
    bound = bind(web.listen, is_open=password is not None)
    host, port = split_address(web.listen)[0], bound.getsockname()[1]
    rules = Rules(allowed_hosts(web.hosts, host, port), read_only=web.read_only)
    shown = f"[{host}]" if ":" in host else host
    _log.info("web.listening", url=f"http://{shown}:{port}/", read_only=web.read_only)
    return serving(Gate(make_app(site), rules, password, site.clock), bound)


def make_app(site: Site) -> Starlette:
    """Return the application. Its endpoints are plain functions, each run in a thread that may read and wait."""
    pages = Pages(site)
    return Starlette(
        routes=[
            Route("/", pages.overview),
            Mount("/static", StaticFiles(packages=[("watcher.web", "static")])),
        ]
    )


class Pages:
    """The endpoints that a browser asks for: each reads what it shows at once, and answers whole."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._templates = Environment(
            loader=PackageLoader("watcher.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    @property
    def _context(self) -> CommandContext:
        """A context of its own for each request: it remembers what it has found out about the folders."""
        return CommandContext(self._site.config, self._site.store, self._site.clock)

    def overview(self, _: Request) -> Response:
        status = read_status(self._context)
        return self._render("overview.html", status=status)

    def _render(self, name: str, **values: object) -> HTMLResponse:
        text = self._templates.get_template(name).render(
            version=__version__, read_only=self._site.config.web.read_only, **values
        )
        return HTMLResponse(text.encode("utf-8", "replace"))
