"""The sites that work with one account, by name. A database on a server has several; an SQLite file has one."""

from dataclasses import dataclass

from watcher.config import Config
from watcher.store import Books
from watcher.text import show_text
from watcher.views.context import CommandContext


@dataclass(frozen=True, slots=True)
class SiteName:
    """A site, and what people call it. `id`: as its items have it, so "" in a file.

    `folder`: its drop folder as its node last knew it; "" if it is not known, or nobody may know.
    """

    id: str
    folder: str
    is_own: bool

    def __str__(self) -> str:
        return self.folder or self.id or "this site"


def name_sites(books: Books, config: Config) -> list[SiteName]:
    """Return the sites of this account, this one first, then by their drop folders."""
    own, hides = books.site.own(), config.privacy.hides
    found = []
    for site in sorted({own, *books.site.joined(config.identifai.payer)}):
        with books.at(site):
            folder = books.site.get("path.drop")
            shown = show_text(folder) if isinstance(folder, str) and not hides else ""
            found.append(SiteName(site, shown, site == own))
    return sorted(found, key=lambda name: (not name.is_own, name.folder, name.id))


def at_each(context: CommandContext) -> list[tuple[SiteName, CommandContext]]:
    """Return the context at each of the sites of the account."""
    with context.store.reading() as books:
        names = name_sites(books, context.config)
    return [(name, context.at(name.id)) for name in names]
