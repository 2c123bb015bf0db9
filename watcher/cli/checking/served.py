"""What could keep the page from being served, or open it to others than it should."""

from collections.abc import Iterator

from watcher.cli.checking.finding import Finding, warning, well
from watcher.config import Config
from watcher.errors import ConfigError
from watcher.web.password import read_password


def check_page(config: Config, *, is_running: bool) -> Iterator[Finding]:
    """Where web.listen is set. `is_running`: a daemon runs here, so its own page may have the address."""
    web, name = config.web, "page"
    if not web.listen:
        return
    try:
        exposed = read_password(web.password_file)[1] if web.password_file is not None else ""
        if not is_running:
            from watcher.web.listener import bind  # noqa: PLC0415 — an extra, which takes a while to load

            bind(web.listen, is_open=web.password_file is not None).close()
    except ConfigError as error:
        yield Finding.of(name, error)
        return
    if exposed:
        what, _, remedy = exposed.partition("; ")
        yield warning(name, what, f"{remedy[:1].upper()}{remedy[1:]}.")
    elif not web.is_local and not web.hosts:
        found = f"{web.listen} can be reached from elsewhere, but by no name: web.hosts is empty"
        yield warning(
            name, found, 'Name what browsers ask for in web.hosts, such as ["watcher.example.org:8473"].'
        )
    else:
        kind = "shows, and changes nothing" if web.read_only else "shows and takes decisions"
        locked = "with a password" if web.password_file is not None else "for this machine alone"
        yield well(name, f"on {web.listen}, {locked}; {kind}")
