"""The sections with their keys and defaults. config.example.toml explains each key to operators."""

import fnmatch
import importlib.util
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationInfo, field_validator

from watcher.alarms import Alarm, Noted
from watcher.config.values import (
    YEAR,
    Address,
    AtLeastOne,
    BaseUrl,
    Count,
    Days,
    Duration,
    File,
    FileOrNone,
    Folder,
    FolderOrNone,
    Hosts,
    Marker,
    Name,
    Names,
    NodeName,
    Pattern,
    Patterns,
    RefId,
    Seconds,
    StoreUrl,
    Suffixes,
    TimeOfDay,
    WebhookUrl,
    Window,
    Windows,
    WorkingHours,
    Zone,
    is_loopback,
    lies_in,
)
from watcher.privacy import Veil
from watcher.text import show_path
from watcher.working_hours import Hours, parse_hours

# No plug-in of pydantic's sees what is configured; and to look for one among all that is installed takes a
# hundredth of a short command (measured).
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def _kind(value: object) -> Alarm:
    if isinstance(value, str) and value in list(Alarm):
        return Alarm(value)
    raise ValueError("any of " + ", ".join(f'"{kind}"' for kind in Alarm))


Kind = Annotated[Alarm, PlainValidator(_kind)]


class Table(BaseModel):
    """One section: its fields are the only keys allowed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True, defer_build=True)


class _BackOff(Table):
    @field_validator("max_seconds", check_fields=False)
    @classmethod
    def _no_less_than_the_first(cls, value: float, info: ValidationInfo) -> float:
        first = info.data.get("first_seconds", 0.0)
        if value < first:
            raise ValueError(f"first_seconds ({first:.15g}) or more")
        return value


class Folders(Table):
    """Absolute paths as bytes; `domain.show_path` returns the text for a person."""

    drop: Folder = b"drop"
    done: Folder = b"done"
    failed: Folder = b"failed"
    own: bool = False
    by_verdict: bool = False
    status: bool = False

    @field_validator("done", "failed")
    @classmethod
    def _apart(cls, folder: bytes, info: ValidationInfo) -> bytes:
        for name, other in info.data.items():
            if lies_in(folder, other):
                why = (
                    "what is filed there would be taken for a new arrival"
                    if name == "drop"
                    else "their receipts could not be told apart"
                )
            elif lies_in(other, folder):
                why = f"folders.{name} lies inside it, so what is filed could land there"
            else:
                continue
            raise ValueError(f"a folder apart from folders.{name} ({show_path(other)}): {why}")
        return folder


class Store(Table):
    url: StoreUrl = "sqlite:///watcher.db"
    node: NodeName = ""
    lease_seconds: Annotated[float, Field(ge=2, le=3600, allow_inf_nan=False)] = 30.0

    @property
    def file(self) -> Path | None:
        """The absolute path of the database file; null where the database is on a server."""
        return Path(self.url.removeprefix("sqlite:///")) if self.url.startswith("sqlite:") else None


class Identifai(Table):
    base_url: BaseUrl = "https://backend.identifai.net"
    api_key_file: File = Path("identifai.key")
    ref_id: RefId = "{id}"  # a template for str.format; "" sends none
    upload_name: Literal["id", "original"] = "id"
    account: Name = "default"
    no_cache: bool = False
    prevent_c2pa_forces: bool = False
    webhook_url: WebhookUrl = ""
    in_doubt: Literal["resubmit", "hold"] = "resubmit"
    connect_timeout_seconds: Seconds = 10.0
    read_timeout_seconds: Seconds = 60.0
    deadline_seconds: Seconds = 300.0

    @property
    def payer(self) -> str:
        """Whose credit it is, and for which service: what tells the accounts of one database apart."""
        return f"{self.base_url} {self.account}"

    @property
    def holds_in_doubt(self) -> bool:
        """Whether a person decides on what may have been charged."""
        return self.in_doubt == "hold"


class Limits(Table):
    """An empty tuple of windows means no limit."""

    writes: Windows = (Window(1, 1.0), Window(30, 60.0))
    reads: Windows = (Window(2, 1.0), Window(60, 60.0))
    in_flight: AtLeastOne = 1
    max_upload_bytes: AtLeastOne = 15_000_000
    per_day: Count = 0
    per_month: Count = 0
    timezone: Zone = ""


class Arrivals(Table):
    settle_seconds: Annotated[float, Field(ge=0, le=YEAR, allow_inf_nan=False)] = 2.0
    proof: bool = True
    rescan_seconds: Seconds = 30.0
    watch: Literal["auto", "events", "polling"] = "auto"
    unclosed_seconds: Annotated[float, Field(ge=0, le=YEAR, allow_inf_nan=False)] = 60.0
    incomplete_minutes: Annotated[float, Field(gt=0, le=YEAR // 60, allow_inf_nan=False)] = 60.0
    lengths: Literal["strict", "lenient"] = "strict"
    foreign: Literal["leave", "fail"] = "leave"
    marker: Marker = ""
    sidecar: Suffixes = ()
    ignore: Patterns = ()


class RawNames(Table):
    """What files of these names are, which have no header to tell it."""

    names: Pattern
    codec: Literal["mulaw", "alaw", "pcm", "s16be", "gsm", "g722", "g729"]
    rate: Annotated[int, Field(ge=1_000, le=192_000)] = 8000
    channels: Annotated[int, Field(ge=1, le=8)] = 1

    @field_validator("rate")
    @classmethod
    def _rate_of_codec(cls, rate: int, info: ValidationInfo) -> int:
        codec = str(info.data.get("codec", ""))
        if rate != (only := _ONLY_RATES.get(codec, rate)):
            raise ValueError(f"{only}, as {codec} always has")
        return rate

    @field_validator("channels")
    @classmethod
    def _channels_of_codec(cls, channels: int, info: ValidationInfo) -> int:
        codec = str(info.data.get("codec", ""))
        if codec in _ONLY_RATES and channels != 1:
            raise ValueError(f"1, as {codec} always has")
        return channels


_ONLY_RATES = {"gsm": 8000, "g722": 16000, "g729": 8000}


class AudioConfig(Table):
    """Which recordings are made acceptable before they are sent, and how."""

    prepare: bool = True
    oversize: Literal["shrink", "split", "fail"] = "shrink"
    foreign: Literal["convert", "fail"] = "convert"
    channels: Literal["together", "apart", "first", "second"] = "together"
    channel_names: Names = ()
    min_seconds: Annotated[float, Field(ge=0, le=YEAR, allow_inf_nan=False)] = 0.0
    max_parts: Annotated[int, Field(ge=1, le=500)] = 24  # the receipt, which lists them all, stays below 1 MiB
    join: Literal["any", "majority"] = "any"
    spool: Folder = b"spool"
    spool_bytes: AtLeastOne = 2_000_000_000
    raw: Annotated[tuple[RawNames, ...], Field(strict=False)] = ()

    @field_validator("channels")
    @classmethod
    def _needs_preparation(cls, channels: str, info: ValidationInfo) -> str:
        if channels != "together" and not info.data.get("prepare", True):
            raise ValueError('"together" while audio.prepare is false')
        return channels

    @field_validator("raw")
    @classmethod
    def _needs_the_extra(cls, raw: tuple[RawNames, ...]) -> tuple[RawNames, ...]:
        if raw and importlib.util.find_spec("av") is None:
            raise ValueError("nothing until the extra is installed: pip install 'identifai-watcher[audio]'")
        return raw

    def raw_for(self, path: bytes) -> RawNames | None:
        """Return what a file of this name is said to be, if it has no header; the first that names it."""
        name = os.fsdecode(os.path.basename(path)).lower()
        return next((one for one in self.raw if fnmatch.fnmatchcase(name, one.names.lower())), None)

    def channel_name(self, channel: int | None) -> str | None:
        """Return what the channel is called; None for all together, and where it has no name."""
        return self.channel_names[channel] if channel is not None and channel < len(self.channel_names) else None


class Retry(_BackOff):
    first_seconds: Seconds = 5.0
    max_seconds: Seconds = 600.0
    hold_after: AtLeastOne = 8


class Verdicts(_BackOff):
    fetch: bool = True
    first_seconds: Seconds = 5.0
    max_seconds: Seconds = 300.0
    give_up_hours: Annotated[float, Field(gt=0, le=YEAR // 3_600, allow_inf_nan=False)] = 48.0


class RetentionConfig(Table):
    """After how many days, counted from when it came to rest, what was filed is removed; 0: never."""

    recordings_days: Days = 0.0
    receipts_days: Days = 0.0
    history_days: Days = 0.0

    @field_validator("receipts_days", "history_days")
    @classmethod
    def _not_before_what_it_tells_of(cls, days: float, info: ValidationInfo) -> float:
        for name in ("recordings_days", "receipts_days"):
            least = info.data.get(name, 0.0)
            if days and days < least:
                raise ValueError(f"0, or {least:.15g} or more, as {name}: what tells of it stays as long")
        return days

    @property
    def keeps_all(self) -> bool:
        """Whether nothing is ever removed."""
        return not (self.recordings_days or self.receipts_days or self.history_days)


class Web(Table):
    listen: Address = ""
    hosts: Hosts = ()
    password_file: FileOrNone = None
    read_only: bool = False

    @field_validator("listen")
    @classmethod
    def _needs_the_extra(cls, listen: str) -> str:
        if listen and importlib.util.find_spec("starlette") is None:
            raise ValueError("nothing until the extra is installed: pip install 'identifai-watcher[web]'")
        return listen

    @property
    def is_local(self) -> bool:
        """Whether it listens where this machine alone can reach it; as its address says it, a name may deceive."""
        return is_loopback(self.listen)


class ReportConfig(Table):
    """Where a report of each day is left, and when on the next one."""

    folder: FolderOrNone = b""
    at: TimeOfDay = "06:00"


class NotifyConfig(Table):
    """Who is told, and of what."""

    urls_file: FileOrNone = None
    on: Annotated[tuple[Kind, ...], Field(strict=False)] = tuple(Alarm)
    artificial_confidence: Annotated[float, Field(ge=0, le=1)] = 0.8
    silence: Duration = 0.0
    working_hours: WorkingHours = "Mon-Fri 08:00-18:00"
    digest_minutes: Annotated[float, Field(ge=0, le=YEAR // 60, allow_inf_nan=False)] = 15.0

    @field_validator("urls_file")
    @classmethod
    def _needs_the_extra(cls, file: Path | None) -> Path | None:
        if file is not None and importlib.util.find_spec("apprise") is None:
            raise ValueError("nothing until the extra is installed: pip install 'identifai-watcher[notify]'")
        return file

    @property
    def noted(self) -> Noted:
        """Of which conditions somebody is told."""
        kinds = frozenset(self.on) - (frozenset() if self.silence else {Alarm.SILENCE})
        return Noted(kinds if self.urls_file is not None else frozenset(), self.artificial_confidence)

    @property
    def hours(self) -> tuple[Hours, ...]:
        """When silence counts."""
        return parse_hours(self.working_hours)


class Privacy(Table):
    names: Literal["show", "hide"] = "show"

    @property
    def hides(self) -> bool:
        """Whether no path may be seen in pages, reports, messages and logs."""
        return self.names == "hide"


class Log(Table):
    format: Literal["auto", "console", "json"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


_DEFAULTS: Any = Field(default_factory=dict)  # validated like a table: its paths are relative to the file


@dataclass(frozen=True)
class _Source:
    """The file that a configuration was read from; not part of the comparison of two configurations."""

    path: Path
    digest: str = field(compare=False)


class Config(Table):
    """The whole configuration. Created by `load`; immutable, with absolute paths."""

    folders: Folders = _DEFAULTS
    store: Store = _DEFAULTS
    identifai: Identifai = _DEFAULTS
    limits: Limits = _DEFAULTS
    arrivals: Arrivals = _DEFAULTS
    audio: AudioConfig = _DEFAULTS
    retry: Retry = _DEFAULTS
    verdicts: Verdicts = _DEFAULTS
    web: Web = _DEFAULTS
    retention: RetentionConfig = _DEFAULTS
    report: ReportConfig = _DEFAULTS
    notify: NotifyConfig = _DEFAULTS
    privacy: Privacy = _DEFAULTS
    log: Log = _DEFAULTS
    _source: _Source

    @field_validator("audio", mode="before")
    @classmethod
    def _spool_beside_database(cls, audio: object, info: ValidationInfo) -> object:
        """Unless it is set, the spool lies beside the database: there whoever runs this may write."""
        store = info.data.get("store")
        if not isinstance(audio, dict) or "spool" in audio or store is None or store.file is None:
            return audio
        return {**audio, "spool": store.file.parent / "spool"}

    def model_post_init(self, context: Any) -> None:
        self._source = _Source(context["path"], context.get("digest", ""))

    def read_from(self, other: "Config") -> Self:
        """Return these settings as if read from the other's file."""
        copy = self.model_copy()
        copy._source = other._source  # noqa: SLF001 — our own
        return copy

    @property
    def books(self) -> Path:
        """The absolute path of the database file; of the file that stands for it here if it is on a server."""
        return self.store.file or Path(os.fsdecode(self.audio.spool)).parent / "watcher.node"

    @property
    def veil(self) -> Veil | None:
        """What hides names in the log; null where they are shown."""
        folders = self.folders
        return Veil((folders.drop, folders.done, folders.failed)) if self.privacy.hides else None

    @property
    def digest(self) -> str:
        """The sha256 of the file's text when it was read."""
        return self._source.digest

    @property
    def path(self) -> Path:
        """The absolute path of the file that it was read from."""
        return self._source.path
