"""`watcher demo`: the real pipeline against the sandbox, on recordings that are accepted and that are refused."""

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from watcher import logs, once
from watcher.audio.synthesis import amr, long_wav, wav
from watcher.cli.console import wide_console
from watcher.clock import SystemClock
from watcher.composition import opened
from watcher.config import load
from watcher.domain import Mode, State
from watcher.errors import ConfigError, Exit
from watcher.journey.prepare.codec import has_codec
from watcher.key import Key
from watcher.outlet import standard_error
from watcher.sandbox import Sandbox
from watcher.text import path_text
from watcher.views.context import CommandContext
from watcher.views.recordings import Recording, list_recordings, list_waiting

_KEY = "demo-key"
_LACKING = (
    "Without the extra `audio` no long call is encoded and no foreign recording converted: these are left out."
)
_MODES = {Mode.FLAC: "FLAC", Mode.REMUX: "other container", Mode.CUT: "WAV", Mode.COPY: "stream"}
_CONFIG = """\
# Written by `watcher demo`. For real use, begin with a copy of config.example.toml.
[identifai]
base_url = "{url}"

[arrivals]
settle_seconds = 0.5
unclosed_seconds = 2        # the demo writes its files at once; the default is a minute
rescan_seconds = 2
incomplete_minutes = 0.05   # three seconds, so that you see it happen; the default is an hour

[verdicts]
first_seconds = 1
"""


@dataclass(frozen=True, slots=True)
class Fate:
    """A recording of the demo and what should become of it."""

    path: str
    content: Callable[[], bytes]
    state: State
    error: str | None = None
    verdict: str | None = None
    duplicate: bool = False
    mode: Mode | None = None  # how it is made acceptable; null: it is sent as it is
    submissions: int = 1
    needs_codec: bool = False


def _voice(seed: int, *, note: bytes = b"", codec: str = "pcm", channels: int = 1) -> Callable[[], bytes]:
    return lambda: wav(12.0, seed=seed, note=note, codec=codec, channels=channels)  # type: ignore[arg-type]


FATES = (
    Fate("2026-11-22/agent-7/call-0001.wav", _voice(1), State.DONE, verdict="human"),
    Fate("2026-11-22/agent-7/call-0002.wav", _voice(2, codec="mulaw"), State.DONE, verdict="human"),
    Fate("2026-11-22/agent-7/call-0003.WAV", _voice(3, codec="alaw"), State.DONE, verdict="human"),
    Fate("2026-11-22/agent-9/call-0004.wav", _voice(4, channels=2), State.DONE, verdict="human"),
    Fate("2026-11-22/agent-9/Rückruf Müller.wav", _voice(5), State.DONE, verdict="human"),
    Fate("2026-11-22/agent-9/robot.wav", _voice(6, note=b"sandbox:artificial"), State.DONE, verdict="artificial"),
    Fate("voicemail/bank.wav", _voice(7, note=b"sandbox:artificial"), State.DONE, verdict="artificial"),
    Fate("voicemail/noise.wav", _voice(8, note=b"sandbox:inconclusive"), State.DONE, verdict="inconclusive"),
    Fate("voicemail/call-0001 again.wav", _voice(1), State.DONE, verdict="human", duplicate=True),
    Fate(
        "long/ten minutes.wav",
        lambda: long_wav(600.0, seed=12),
        State.DONE,
        verdict="human",
        mode=Mode.FLAC,
        needs_codec=True,
    ),
    Fate(
        "long/twenty minutes, µ-law.wav",
        # The second part begins in the stretch that is marked.
        lambda: long_wav(1200.0, codec="mulaw", seed=13, marks=[(b"sandbox:artificial", 600.0, 1000.0)]),
        State.DONE,
        verdict="artificial",
        mode=Mode.CUT,
        submissions=2,
    ),
    Fate(
        "foreign/dictated.amr",
        lambda: amr(12.0, seed=14),
        State.DONE,
        verdict="human",
        mode=Mode.REMUX,
        needs_codec=True,
    ),
    Fate("problems/refused.wav", _voice(9, note=b"sandbox:unsupported"), State.FAILED, error="refused"),
    Fate("problems/cut short.wav", lambda: wav(12.0, seed=10)[:-5000], State.FAILED, error="truncated"),
    Fate(
        "problems/notes.wav",
        lambda: b"Call back on Monday. This is no recording.\n" * 20,
        State.FAILED,
        error="unsupported_type",
    ),
)


def demo_fates() -> tuple[Fate, ...]:
    """Return the recordings of the demo that this installation can make acceptable."""
    return tuple(fate for fate in FATES if has_codec() or not fate.needs_codec)


def show_demo(folder: Path | None) -> Exit:
    """Run the demo and print a table of what became of each recording. 1 if one did not end as it should."""
    root, fates = _prepare(folder), demo_fates()
    with Sandbox(_KEY, verdict_after_seconds=1.0) as service:
        path = root / "config.toml"
        path.write_text(_CONFIG.format(url=service.url), encoding="utf-8")
        config = load(path)
        key = Key(_KEY, "the demo")
        logs.configure("console", "error", key)
        console = Console(file=standard_error(), stderr=True, highlight=False)
        console.print(
            f"The sandbox answers at {service.url}, at the service's own limits: "
            f"1 submission a second, 30 a minute.\n"
            f"Dropping {len(fates)} recordings into {root / 'drop'} …",
            soft_wrap=True,
        )
        if len(fates) < len(FATES):
            console.print(_LACKING, soft_wrap=True)
        for fate in fates:
            target = root / "drop" / os.fsdecode(fate.path.encode())  # str paths are not UTF-8 in every locale
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(fate.content())
        with opened(config, key, SystemClock(), once=True) as journey:
            context = CommandContext(config, journey.site.store, journey.site.clock)
            live = Live(console=console, refresh_per_second=8, transient=True)
            with live:
                once.run_once(journey, verdict_seconds=inf, show=lambda _: live.update(_table(context)))
            return _conclude(context, service, root)


def _prepare(folder: Path | None) -> Path:
    root = Path(tempfile.mkdtemp(prefix="watcher-demo-")) if folder is None else folder.absolute()
    try:
        root.mkdir(parents=True, exist_ok=True)
        if any(root.iterdir()):
            raise ConfigError(f"demo: {root} is not empty", hint="Name an empty or a new folder: --dir DIR")
        for name in ("drop", "done", "failed"):
            (root / name).mkdir()
    except OSError as error:
        msg = f"demo: cannot create {root}: {error.strerror}"
        raise ConfigError(msg, hint="Name a folder that you may write to: --dir DIR") from error
    return root


def _recordings(context: CommandContext) -> dict[str, Recording]:
    return {path_text(recording.item.path): recording for recording in list_recordings(context)}


def _table(context: CommandContext, marks: dict[str, str] | None = None) -> Table:
    table = Table("file", "became", "sent as", "identifier or reason", "verdict", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    waiting = {path_text(file.path): file for file in list_waiting(context).files}
    recordings = _recordings(context)  # read after the waiting files: one taken in between is among these
    for fate in demo_fates():
        recording = recordings.get(fate.path)
        if recording is None:
            reason = waiting[fate.path].reason if fate.path in waiting else ""
            table.add_row(fate.path, "settling", "", reason, "")
            continue
        item, verdict = recording.item, recording.verdict
        told = item.fault.code if item.fault else ", ".join(_identifiers(recording))
        if item.duplicate_of:
            told += " (duplicate, not paid for)"
        said = (verdict.classification or "awaited") if verdict else ""
        table.add_row(
            fate.path, str(item.state), _sent_as(recording), told, said, *([marks[fate.path]] if marks else [])
        )
    return table


def _identifiers(recording: Recording) -> list[str]:
    """Return the beginnings of its identifier, or of those of its parts."""
    parts = [part.identifier for part in recording.answer.parts or () if part.identifier is not None]
    found = [recording.item.identifier] if recording.item.identifier is not None else parts
    return [f"{identifier[:16]}…" for identifier in found]


def _sent_as(recording: Recording) -> str:
    """Return what was, or is to be, sent of it."""
    item = recording.item
    if item.plan is None:
        return "" if item.outcome is State.FAILED else "as it is"
    parts = sum(not part.silent for part in recording.answer.parts or ())
    return _MODES[item.plan.mode] + (f", {parts} parts" if parts > 1 else "")


def _conclude(context: CommandContext, service: Sandbox, root: Path) -> Exit:
    wrong: list[str] = []
    recordings = _recordings(context)
    fates = demo_fates()
    for fate in fates:
        recording = recordings.get(fate.path)
        if recording is None:
            wrong.append(f"{fate.path}: was never taken")
            continue
        item, verdict = recording.item, recording.verdict
        became = (item.state, item.fault and item.fault.code, verdict and verdict.classification)
        if became != (fate.state, fate.error, fate.verdict) or bool(item.duplicate_of) != fate.duplicate:
            wrong.append(f"{fate.path}: should be {fate.state} {fate.error or fate.verdict}, became {became}")
        if (mode := item.plan and item.plan.mode) != fate.mode:
            wrong.append(f"{fate.path}: should be made acceptable by {fate.mode}, not by {mode}")
    out = wide_console()
    out.print(_table(context))
    paid = sum(fate.submissions for fate in fates if fate.state is State.DONE and not fate.duplicate)
    if service.charged != paid:
        wrong.append(f"{service.charged} submissions were charged, not {paid}")
    out.print(
        f"\n{len(fates)} recordings, {service.charged} charged. Each is in done/ or failed/ with its receipt:"
    )
    out.print(f"  {root}")
    out.print(f"Look around:  watcher list --config {root / 'config.toml'}")
    for line in wrong:
        print(f"demo: {line}", file=sys.stderr)
    return Exit.INCOMPLETE if wrong else Exit.WELL
