"""Pages made of templates: all escaped, times in the site's zone, with what every page has."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import ChoiceLoader, Environment, PackageLoader, PrefixLoader

from watcher import __version__
from watcher.domain import Deed
from watcher.report.page import make_environment
from watcher.views.overview import deed_in_words
from watcher.views.period import Period

_FLUSH = "\0flush"  # no template and no name has it: control characters are escaped
_PIECE_CHARACTERS = 16_384


def render(name: str, zone_name: str, **values: Any) -> Iterator[bytes]:
    """Yield the page in pieces; what stands before `flush` in its template goes at once."""
    template = _environment(zone_name).get_template(name)
    words = {str(deed): deed_in_words(deed) for deed in Deed}
    gathered: list[str] = []
    size = 0
    for piece in template.generate(version=__version__, flush=_FLUSH, deed_words=words, **values):
        if piece != _FLUSH:
            gathered.append(piece)
            size += len(piece)
        if piece == _FLUSH or size > _PIECE_CHARACTERS:
            yield "".join(gathered).encode("utf-8", "replace")
            gathered.clear()
            size = 0
    yield "".join(gathered).encode("utf-8", "replace")


@lru_cache(maxsize=4)
def _environment(zone_name: str) -> Environment:
    ours = PackageLoader("watcher.web")
    loader = ChoiceLoader([ours, PrefixLoader({"report": PackageLoader("watcher.report")})])
    environment = make_environment(loader, Period(zone=ZoneInfo(zone_name) if zone_name else None))
    environment.filters |= {"duration": _duration, "shown": lambda text, story: story.hide(str(text))}
    return environment


def _duration(seconds: float) -> str:
    """Return about how long, in words."""
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours >= 48:
        return f"about {hours / 24:,.0f} days"
    return f"about {hours} h {minutes} min" if hours else f"about {minutes} min" if minutes else f"{seconds:.0f} s"
