"""What could keep recordings from being made acceptable: the extra, the spool, caps smaller than a recording."""

import os
from collections.abc import Iterator

from watcher.cli.checking.finding import Finding, warning, well, wrong
from watcher.config import Config
from watcher.journey.prepare.codec import has_codec
from watcher.journey.prepare.unsendable import INSTALL
from watcher.text import quote_path, show_path


def check_preparing(config: Config) -> Iterator[Finding]:
    """Yield what `[audio]` needs, and whether it is there."""
    audio, limits = config.audio, config.limits
    if not audio.prepare:
        yield well("audio", "recordings are sent as they are, or fail (audio.prepare = false)")
        return
    yield _check_spool(audio.spool)
    if not has_codec():
        found = "the extra `audio` is not installed: only a WAV is cut, all else that must be prepared fails"
        yield warning("codec", found, f"Install it ({INSTALL}), or set audio.prepare = false.")
    for name in ("per_day", "per_month"):
        cap = getattr(limits, name)
        if 0 < cap < audio.max_parts:
            found = f"limits.{name} is {cap:,}, and one recording may take {audio.max_parts:,} submissions"
            yield warning(
                "caps", found, "Its parts then go out over several of them: raise it, or lower audio.max_parts."
            )


def _check_spool(spool: bytes) -> Finding:
    """Look whether the spool can be written, or made where it is not there."""
    above = os.path.dirname(spool)
    there = spool if os.path.lexists(spool) else above
    if not os.path.lexists(there):
        hint = f"Create it as a folder of this user: {quote_path(above)}, or name another folder as audio.spool."
        return wrong("spool", f"audio.spool ({show_path(spool)}) cannot be made: its folder does not exist", hint)
    if os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK, effective_ids=True):
        return well("spool", f"{show_path(spool)} can be written")
    hint = f"Give this user {quote_path(there)}, or name another folder as audio.spool."
    return wrong("spool", f"audio.spool ({show_path(spool)}) cannot be written", hint)
