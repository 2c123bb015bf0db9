"""The revisions that upgrade the database from each version to the next."""

from collections.abc import Collection
from importlib.resources import files
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy import inspect as look_at

from watcher.errors import StoreError
from watcher.outlet import Show


def known() -> list[str]:
    """All versions that this program knows, oldest first: the numbers in the names of the revisions' files."""
    return sorted(path.name.partition("_")[0] for path in (folder() / "versions").glob("[0-9]*_*.py"))


_OURS = {"items", "transitions", "attempts", "site"}  # in every version


def version_of(connection: Connection) -> str | None:
    """The version of a database; null if it does not have our tables, whatever Alembic tables are there."""
    if not {"alembic_version", *_OURS} <= set(look_at(connection).get_table_names()):
        return None
    version: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return version


def refuse_newer(version: str | None, name: str, among: Collection[str] = ()) -> None:
    """Raise StoreError if the database of this name has a version that only a newer program knows.

    `among`: what `known` has returned, where no file may be read any more.
    """
    if version is not None and version not in (among or known()):
        raise StoreError(
            f"{name}: the database is of version {version}, which is newer than this program",
            hint="Install the newer identifai-watcher again, or restore the backup beside the database.",
        )


def check_version(version: str | None, name: str) -> None:
    """Raise StoreError unless the database of this name, which has this version, has exactly this program's."""
    if version == known()[-1]:
        return
    refuse_newer(version, name)
    raise StoreError(
        f"{name}: the database is of an older version ({version or 'none'}) than this program",
        hint="Run `watcher migrate`, or start the daemon, which does it.",
    )


def apply(connection: Connection, before: str | None, show: Show | None = None) -> None:
    """Upgrade the database from this version to the newest, within the transaction of `connection`.

    `show` is told which of the revisions is at work.
    """
    from alembic import command  # noqa: PLC0415 — a quarter of a second that only an upgrade need pay
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    left = [version for version in known() if before is None or version > before]
    total = len(left)

    def tell(**_: object) -> None:
        if show is not None and left:
            version = left.pop(0)
            show(f"changing the tables to version {version}", total - len(left), total)

    config.attributes["on_version_apply"] = tell  # once each is done: so the next one begins
    tell()
    command.upgrade(config, "head")


def folder() -> Path:
    """The folder of the revisions: in the installed package, else beside it, as in a checkout."""
    packaged = Path(str(files("watcher"))) / "migrations"
    return packaged if packaged.is_dir() else packaged.parent.parent / "migrations"
