"""Find and read the systemd unit that starts the daemon of a configuration. Only its files are read."""

import grp
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from watcher.config.loading import SYSTEM_CONFIG

# systemd.unit(5), in order of precedence. $SYSTEMD_UNIT_PATH is systemd's own.
_FOLDERS = (
    "/etc/systemd/system.control:/run/systemd/system.control:/run/systemd/transient:/etc/systemd/system:"
    "/run/systemd/system:/usr/local/lib/systemd/system:/usr/lib/systemd/system:/lib/systemd/system"
)
_CREDENTIALS = ("/etc/credstore", "/run/credstore", "/usr/local/lib/credstore", "/usr/lib/credstore")
_LISTS = (
    *("SupplementaryGroups", "AmbientCapabilities", "LoadCredential", "Environment", "EnvironmentFile"),
    *("ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths", "BindPaths", "BindReadOnlyPaths", "StateDirectory"),
)
_BINDS = ("BindPaths", "BindReadOnlyPaths")
# systemd.unit(5), for the system's own services.
_SPECIFIERS = {"S": "/var/lib", "C": "/var/cache", "L": "/var/log", "E": "/etc", "t": "/run", "%": "%"}
_YES = ("yes", "true", "on", "1")
_HOMES = ("/home", "/root", "/run/user")
# systemd.exec(5): what each value of ProtectSystem= leaves read-only.
_PROTECTED = {
    "strict": ("/",),
    "full": ("/usr", "/boot", "/efi", "/etc"),
    **dict.fromkeys(_YES, ("/usr", "/boot", "/efi")),
}
_MOST_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Unit:
    """A service unit and its settings, drop-ins included."""

    path: Path
    instance: str
    settings: dict[str, list[str]]

    @property
    def name(self) -> str:
        """As systemctl takes it."""
        return f"{self.path.stem}{self.instance}"

    @property
    def user(self) -> str:
        """The user's name; "" where systemd creates one at each start (DynamicUser=)."""
        named = self._last("User")
        return named or ("" if self._last("DynamicUser") in _YES else "root")

    def gid(self, default: int) -> int:
        return next(_gids([self._last("Group")]), default)

    def groups(self) -> tuple[int, ...]:
        return tuple(_gids(word for line in self._all("SupplementaryGroups") for word in line.split()))

    def umask(self) -> int:
        with suppress(ValueError):
            return int(self._last("UMask"), 8)
        return 0o022

    def grants(self, capability: str) -> bool:
        return any(capability in line.split() for line in self._all("AmbientCapabilities"))

    def environment(self) -> dict[str, str]:
        """Environment=, overridden by the files that EnvironmentFile= names."""
        found: dict[str, str] = {}
        lines = list(self._all("Environment"))
        for name in self._all("EnvironmentFile"):
            lines += _lines_of(Path(name.removeprefix("-")))
        for line in lines:
            with suppress(ValueError):
                words = (word.partition("=") for word in shlex.split(line, comments=True))
                found |= {name: value for name, equals, value in words if equals}
        return found

    def credential(self, name: str) -> Path | None:
        """The file that LoadCredential= passes in under this name."""
        for line in self._all("LoadCredential"):
            given, _, path = line.partition(":")
            if given != name:
                continue
            if path.startswith("/"):
                return Path(path)
            places = [Path(folder, path or name) for folder in _CREDENTIALS]
            return next((place for place in places if place.is_file()), places[0])
        return None

    def barrier_to(self, path: Path) -> str:
        """The setting that keeps the service from writing at this path; "" where none does.

        Of several that name a folder above it the nearest counts, as when systemd mounts them (systemd.exec(5)).
        """
        rules: dict[str, str] = {}  # by folder: the setting that forbids, or "" where it is allowed
        system, home, is_tmp_hidden = self._last("ProtectSystem"), self._last("ProtectHome"), False
        if self._last("DynamicUser") in _YES:  # which implies these
            system, home, is_tmp_hidden = "strict", home if home in (*_YES, "tmpfs") else "read-only", True
        rules |= dict.fromkeys(_PROTECTED.get(system, ()), f"ProtectSystem={system}")
        if system == "strict":
            rules |= dict.fromkeys(("/dev", "/proc", "/sys"), "")
        if home in (*_YES, "read-only", "tmpfs"):
            rules |= dict.fromkeys(_HOMES, f"ProtectHome={home}")
        if is_tmp_hidden or self._last("PrivateTmp") in (*_YES, "disconnected"):
            rules |= dict.fromkeys(("/tmp", "/var/tmp"), "PrivateTmp=yes")  # noqa: S108 — the names that it hides
        for name in self._paths("StateDirectory"):
            rules |= {f"/var/lib/{name}": "", f"/var/lib/private/{name}": ""}  # the latter with DynamicUser=
        for key in ("ReadWritePaths", "BindPaths", "ReadOnlyPaths", "BindReadOnlyPaths", "InaccessiblePaths"):
            is_allowed = key in ("ReadWritePaths", "BindPaths")
            # systemd follows links in these.
            rules |= {os.path.realpath(one): "" if is_allowed else f"{key}={one}" for one in self._paths(key)}
        within = [folder for folder in rules if path.is_relative_to(folder)]
        return rules[max(within, key=lambda folder: len(Path(folder).parts))] if within else ""

    def _paths(self, key: str) -> list[str]:
        """The paths in a list, as the service sees them: without "-" and "+", and of "from:to" the latter."""
        words = [word.lstrip("-+") for line in self._all(key) for word in _words_of(line)]
        return [word.split(":")[1] if key in _BINDS and ":" in word else word for word in words]

    def _last(self, key: str) -> str:
        return next(reversed(list(self._all(key))), "")

    def _all(self, key: str) -> Iterator[str]:
        known = {**_SPECIFIERS, "i": self.instance, "I": self.instance}
        for value in self.settings.get(key, ()):
            yield re.sub("%(.)", lambda found: known.get(found[1], found[0]), value)


def quote_word(path: str) -> str:
    """The path as one word of a setting."""
    text = path.replace("\\", "\\\\").replace("%", "%%")
    return f'"{text}"' if re.search(r"\s", path) else text


def find_unit(config: Path) -> Unit | None:
    """The unit whose command is `watcher run` with this configuration; null if there is none."""
    folders = [Path(one) for one in (os.environ.get("SYSTEMD_UNIT_PATH") or _FOLDERS).split(":") if one]
    found: list[Unit] = []
    seen: set[str] = set()
    for path in (path for folder in folders for path in sorted(_files_in(folder, "*.service"))):
        if path.name not in seen:
            seen.add(path.name)
            found += _units_of(path, folders, config)
    return min(found, key=lambda unit: unit.path.name.endswith("@.service"), default=None)  # the plainest


def _units_of(path: Path, folders: list[Path], config: Path) -> Iterator[Unit]:
    settings: dict[str, list[str]] = {}
    dropped = {
        file.name: file
        for folder in reversed(folders)
        for name in (path.name, "service")
        for file in _files_in(folder / f"{name}.d", "*.conf")
    }
    for file in (path, *(dropped[name] for name in sorted(dropped))):
        _read(file, settings)
    told = Unit(path, "", settings).environment().get("WATCHER_CONFIG") or str(SYSTEM_CONFIG)
    for command in settings.get("ExecStart", ()):
        with suppress(ValueError):
            words = shlex.split(command.lstrip("@-:+!|"))
            instance = _instance(words, told, config, is_template=path.name.endswith("@.service"))
            if instance is not None:
                yield Unit(path, instance, settings)


def _files_in(folder: Path, names: str) -> list[Path]:
    with suppress(OSError):
        return list(folder.glob(names))
    return []


def _lines_of(path: Path) -> list[str]:
    with suppress(OSError, ValueError):
        if path.is_file() and path.stat().st_size < _MOST_BYTES:
            return path.read_text(encoding="utf-8", errors="replace").replace("\\\n", " ").splitlines()
    return []


def _read(path: Path, settings: dict[str, list[str]]) -> None:
    """Add the settings in [Service]: lists grow, an empty value clears them; of anything else the last counts."""
    section = ""
    for line in map(str.strip, _lines_of(path)):
        if line.startswith("["):
            section = line
        elif section == "[Service]" and line and line[0] not in "#;":
            key, _, value = (part.strip() for part in line.partition("="))
            if not value or key not in (*_LISTS, "ExecStart"):
                settings[key] = []
            settings.setdefault(key, []).extend([value] if value else [])


def _words_of(line: str) -> list[str]:
    """The words of a list, which may be quoted."""
    with suppress(ValueError):  # a quote is missing
        return shlex.split(line)
    return line.split()


def _instance(words: list[str], told: str, config: Path, *, is_template: bool) -> str | None:
    """The instance whose command runs a daemon with this configuration: "" for a plain unit, null for none.

    `told`: the configuration used if the command names none.
    """
    if "run" not in words or not any(os.path.basename(word) == "watcher" for word in words):
        return None
    named = [after for word, after in pairwise(words) if word == "--config"]
    named += [word.removeprefix("--config=") for word in words if word.startswith("--config=")]
    path = (named or [told])[-1]
    if not is_template:
        return "" if os.path.realpath(path) == os.path.realpath(config) else None
    found = re.fullmatch("(.+)".join(map(re.escape, re.split("%[iI]", path))), str(config))
    return found[1] if found and found.groups() else None


def _gids(names: Iterator[str] | list[str]) -> Iterator[int]:
    for name in names:
        if name.isdigit():
            yield int(name)
        else:
            with suppress(KeyError):
                yield grp.getgrnam(name).gr_gid
