"""The tables in README that commands write: each lies between two marks, `<!-- NAME: begin -->` and `end`."""

from pathlib import Path

from tests.people import PROJECT

README = PROJECT / "README.md"


def read_table(name: str, document: Path = README) -> list[str]:
    """The lines of this table."""
    return _split(name, document)[1].strip().splitlines()


def write_table(name: str, lines: list[str], document: Path = README) -> None:
    """The table has these lines, and nothing else of the document has changed."""
    before, _, after = _split(name, document)
    document.write_text("".join((before, "\n", "\n".join(lines), "\n", after)))


def _split(name: str, document: Path) -> tuple[str, str, str]:
    text = document.read_text()
    begin, end = (f"<!-- {name}: {word} -->" for word in ("begin", "end"))
    at, until = text.index(begin) + len(begin), text.index(end)
    return text[:at], text[at:until], text[until:]
