"""What the page is made of: the routes, and the templates and files beside them."""

from contextlib import AbstractContextManager, nullcontext

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from watcher import logs
from watcher.journey.site import Site
from watcher.views.context import CommandContext
from watcher.web.gate import Rules, allowed_hosts
from watcher.web.listener import bind, serving, split_address
from watcher.web.middleware import Gate
from watcher.web.pages import Pages
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
    """Return the application. What reads or decides runs in a thread that may wait.

    Each request has a context of its own: it remembers what it has found out about the folders.
    """
    pages = Pages(lambda: CommandContext(site.config, site.store, site.clock))
    return Starlette(
        routes=[
            *pages.routes(),
            Mount("/static", StaticFiles(packages=[("watcher.web", "static")])),
        ]
    )
