"""What preparing costs: FLAC's speed, the memory of daemon and child, and who waits for it.

The real daemon before the real sandbox, in processes of their own: FLAC of a large WAV, beside which a small
recording arrives; a folder of whatever call centres record; a queue of ten-minute calls.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.any_call import RAW, fill, talk
from tests.benchmarks.journey import KEY, end
from watcher.text import JsonObject

_DEFAULTS = '"1/second", "30/minute"'
_A_MINUTE = 30
_CALLS = 200
_SANDBOX = "from watcher.sandbox import serve; serve(port=0, key={key!r}, writes=({writes}), reads=())"


class Site:
    """Folders, a service and a daemon, whose memory is watched."""

    def __init__(self, root: Path, daemon: "subprocess.Popen[bytes]") -> None:
        self.root = root
        self.daemon = daemon
        self.peak = {"daemon": 0, "child": 0}

    def events(self, name: str) -> list[JsonObject]:
        lines = (self.root / "log").read_text().splitlines()
        return [told for told in map(json.loads, lines) if told["event"] == name]

    def wait_for(self, name: str, count: int = 1) -> float:
        """The log has so many of these events. The time."""
        while len(self.events(name)) < count:
            time.sleep(0.05)
            self._look(self.daemon.pid, "daemon")
            for child in Path(f"/proc/{self.daemon.pid}/task").glob("*/children"):
                for pid in child.read_text().split():
                    self._look(int(pid), "child")
            if self.daemon.poll() is not None:
                raise RuntimeError((self.root / "log").read_text())
        return time.monotonic()

    def _look(self, pid: int, who: str) -> None:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
            self.peak[who] = max(self.peak[who], int(status.split("VmHWM:")[1].split()[0]) * 1024)
        except (OSError, IndexError):
            pass


@contextmanager
def _site(writes: str = "", **settings: str) -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="watcher-bench-") as name:
        root = Path(name)
        for folder in ("drop", "done", "failed", "incoming"):
            (root / folder).mkdir()
        program = _SANDBOX.format(key=KEY, writes=writes)
        service = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        assert service.stdout is not None
        url = next(
            word.strip(".,") for line in service.stdout for word in line.split() if word.startswith("http://")
        )
        raw = ", ".join(f"{key} = {json.dumps(value)}" for key, value in RAW[0].items())
        (root / "config.toml").write_text(
            f'[identifai]\nbase_url = "{url}"\n[limits]\nwrites = [{writes}]\nreads = []\nin_flight = 4\n'
            f"[verdicts]\nfirst_seconds = 1\nmax_seconds = 2\n[audio]\nraw = [{{ {raw} }}]\n"
        )
        with (root / "log").open("wb") as log:
            daemon = subprocess.Popen(
                [sys.executable, "-m", "watcher", "run", "--config", str(root / "config.toml")],
                env=os.environ | {"IDENTIFAI_API_KEY": KEY},
                stderr=log,
            )
        site = Site(root, daemon)
        try:
            site.wait_for("daemon.started")
            yield site
        finally:
            end(daemon)
            end(service)


def _one(megabytes: int) -> tuple[float, float, dict[str, int], float]:
    """Speed, seconds that it took, peaks, and the seconds in which a small one was done meanwhile."""
    with _site() as site:
        seconds = megabytes * 1_000_000 / 32_000
        talk(site.root / "incoming/big.wav", seconds, channels=2)
        talk(site.root / "incoming/small.wav", 30.0)
        os.rename(site.root / "incoming/big.wav", site.root / "drop/big.wav")
        began = site.wait_for("recording.queued")
        os.rename(site.root / "incoming/small.wav", site.root / "drop/small.wav")
        small = site.wait_for("recording.done") - began
        first = site.events("recording.done")[0]["path"]
        took = site.wait_for("recording.prepared") - began
        assert first == "small.wav" or took < small, "the small one waited for the large one's preparation"
        site.wait_for("recording.done", 2)
        return seconds / took, took, site.peak, small


def _queue(count: int) -> None:
    with _site(_DEFAULTS) as site:
        for n in range(count):
            talk(site.root / f"incoming/{n:03}.wav", 600.0, channels=2, seed=n)
        began = time.monotonic()
        for path in sorted((site.root / "incoming").iterdir()):
            os.rename(path, site.root / "drop" / path.name)
        site.wait_for("recording.done", count)
        took, least = time.monotonic() - began, (count - 1) * 60.0 / _A_MINUTE
        fields = Path(f"/proc/{site.daemon.pid}/stat").read_text().rpartition(")")[2].split()
        processor = (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK") / count  # of ended children
        print(
            f"{count} ten-minute calls, in_flight 4: {took:.0f} s, {took / max(least, 1):.2f} times what the "
            f"account's limits ask for; preparing one takes {processor:.2f} s of a processor, of the "
            f"{60 / _A_MINUTE:.2f} s that they leave for it; {_peaks(site.peak)}",
            flush=True,
        )
        assert processor < 60 / _A_MINUTE, "preparation is what is waited for"


def _peaks(peak: dict[str, int]) -> str:
    return f"peak of daemon {peak['daemon'] / 1e6:.0f} MB, child {peak['child'] / 1e6:.0f} MB"


def _folder() -> None:
    """The folder of tests.process.test_any_call, at full size."""
    with _site() as site:
        began = time.monotonic()
        fill(site.root / "incoming")
        made = time.monotonic()
        names = sorted(path.name for path in (site.root / "incoming").iterdir())
        for name in names:
            os.rename(site.root / "incoming" / name, site.root / "drop" / name)
        site.wait_for("recording.done", len(names))
        done: list[Any] = site.events("recording.done")
        failed = [told["path"] for told in done if told["error"]]
        print(
            f"a folder of {len(names)} recordings of any kind ({made - began:.0f} s to make): "
            f"{time.monotonic() - made:.0f} s, failed: {failed or 'none'}",
            flush=True,
        )


def main() -> None:
    for megabytes in (30, 300):
        speed, took, peak, small = _one(megabytes)
        print(
            f"FLAC of a WAV of {megabytes:3} MB: {took:5.1f} s, {speed:.0f} times real time; {_peaks(peak)}; "
            f"a small one meanwhile: {small:.1f} s",
            flush=True,
        )
    _folder()
    _queue(_CALLS)


if __name__ == "__main__":
    main()
