"""What the documents tell people to type: their code blocks, and the commands within a line."""

import functools
import re
import subprocess
from dataclasses import dataclass

from tests.people import PROJECT

DOCUMENTS = ("README.md", "systemd/README.md", "CONTRIBUTING.md", "SECURITY.md")
_PROGRAMS = (
    *(
        "watcher",
        "systemctl",
        "journalctl",
        "make",
        "python",
        "sudo",
        "usermod",
        "chmod",
        "setfacl",
        "pip",
        "kill",
    ),
    *("cp", "mv", "rm", "install", "sqlite3", "systemd-run"),
)


@dataclass(frozen=True)
class Block:
    """One code block: what it is in, and what is in it."""

    document: str
    section: str  # the nearest heading above it
    language: str
    text: str


@functools.cache
def read(document: str) -> str:
    return (PROJECT / document).read_text(encoding="utf-8")


@functools.cache
def blocks(document: str) -> list[Block]:
    """All its code blocks, in order."""
    found, section, language, indent, lines = [], "", None, 0, list[str]()
    for line in read(document).splitlines():
        fence = re.match(r"( *)```(\w*)$", line)
        if language is None and line.startswith("#"):
            section = line.lstrip("# ")
        elif language is None and fence:
            language, lines, indent = fence[2], [], len(fence[1])
        elif fence:
            found.append(Block(document, section, language or "", "\n".join(lines) + "\n"))
            language = None
        elif language is not None:
            lines.append(line[indent:])
    assert language is None, f"{document}: the last code block has no end"
    return found


def block(document: str, section: str, language: str) -> str:
    """The text of the only block of this language in the section."""
    (only,) = [b.text for b in blocks(document) if (b.section, b.language) == (section, language)]
    return only


def commands(document: str, section: str) -> list[str]:
    """What is typed in this section, one command each, however many lines it has; without comments."""
    shell = [b for b in blocks(document) if (b.section, b.language) == (section, "sh")]
    return [command for b in shell for command in _split(b.text)]


def sections(document: str) -> list[str]:
    """The sections in which something is typed, in order."""
    return list(dict.fromkeys(b.section for b in blocks(document) if b.language == "sh"))


def bullets(document: str, section: str) -> list[str]:
    """The points of the section, one text each."""
    text = re.split(rf"^#+ {re.escape(section)}$", read(document), flags=re.MULTILINE)[1]
    text = re.split(r"^#", text, flags=re.MULTILINE)[0]
    return [point.split("\n\n")[0] for point in re.split(r"^- ", text, flags=re.MULTILINE)[1:]]


def _split(text: str) -> list[str]:
    found, begun = [], ""
    for line in text.splitlines():
        begun += re.sub(r"(^|\s+)#.*$", "", line) + "\n"
        if begun.strip() and _is_whole(begun):
            found.append(begun.strip())
            begun = ""
    assert not begun.strip(), f"no shell understands: {begun}"
    return found


def _is_whole(command: str) -> bool:
    return subprocess.run(["bash", "-n", "-c", command], capture_output=True, check=False).returncode == 0


def in_passing(document: str) -> list[str]:
    """The commands that stand within a line of the text, each once."""
    prose = re.sub(r"^( *)```.*?^ *```$", "", read(document), flags=re.DOTALL | re.MULTILINE)
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    return list(dict.fromkeys(s for s in spans if s.partition(" ")[0] in _PROGRAMS and " " in s))
