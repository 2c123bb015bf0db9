"""From the drop folder to done/, against a bare loop of requests.post over the same files to the same server.

The daemon runs with every commit and sync in place, limits opened, in_flight 4. Its time is from the first file
moved into the drop folder to the last one in done/ with its receipt. Aim: at most 1.5 times the bare loop's.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from watcher.audio.synthesis import wav

KEY = "benchmark"
SERVER = f"""
from watcher.sandbox import serve
serve(port=0, key={KEY!r}, writes=(), reads=())
"""
BARE = f"""
import sys, os, time, requests
url, folder = sys.argv[1:]
names = sorted(os.listdir(folder))
began = time.monotonic()
for name in names:
    with open(os.path.join(folder, name), "rb") as file:
        answer = requests.post(url + "/api/classification_audio", files={{"audio": (name, file, "audio/wav")}},
            headers={{"X-Api-Key": {KEY!r}, "Accept": "application/json"}}, timeout=60)
    answer.raise_for_status()
    answer.json()["identifier"]
print(time.monotonic() - began)
status = open("/proc/self/status").read()
print(int(status.split("VmHWM:")[1].split()[0]) * 1024)
times = os.times()
print(times.user + times.system)
"""


def main() -> None:
    for count, size, words in ((500, 200_000, "500 of 200 KB"), (100, 5_000_000, "100 of 5 MB")):
        with tempfile.TemporaryDirectory(prefix="watcher-bench-") as folder:
            root = Path(folder)
            bare = _bare(root, count, size)
            ours = _ours(root, count, size)
        print(f"{words}: bare loop {bare[0]:6.2f} s, CPU {bare[2]:5.2f} s, peak {bare[1] / 1e6:4.0f} MB")
        print(
            f"{' ' * len(words)}  watcher   {ours[0]:6.2f} s, CPU {ours[2]:5.2f} s, peak {ours[1] / 1e6:4.0f} MB"
        )
        print(f"{' ' * len(words)}  wall time ratio {ours[0] / bare[0]:.2f} (aim: 1.5 at the most)", flush=True)


def _make(folder: Path, count: int, size: int) -> None:
    folder.mkdir()
    head = wav(size / 16_000, seed=1)[:44]
    for n in range(count):
        (folder / f"call-{n:04}.wav").write_bytes(head + random.Random(n).randbytes(size))
    os.sync()


def _server() -> tuple["subprocess.Popen[str]", str]:
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    for line in server.stdout:
        if "http://" in line:
            return server, next(word.strip(".,") for word in line.split() if word.startswith("http://"))
    raise RuntimeError("the sandbox did not start")


def _bare(root: Path, count: int, size: int) -> tuple[float, float, float]:
    _make(root / "bare", count, size)
    server, url = _server()
    try:
        output = subprocess.run(
            [sys.executable, "-c", BARE, url, str(root / "bare")], check=True, capture_output=True, text=True
        ).stdout
    finally:
        end(server)
    wall, peak, cpu = map(float, output.split())
    return wall, peak, cpu


def _ours(root: Path, count: int, size: int) -> tuple[float, float, float]:
    _make(root / "incoming", count, size)
    for name in ("drop", "done", "failed"):
        (root / name).mkdir()
    server, url = _server()
    config = root / "config.toml"
    config.write_text(
        f'[identifai]\nbase_url = "{url}"\n[limits]\nwrites = []\nreads = []\nin_flight = 4\n'
        "[verdicts]\nfetch = false\n"
    )
    environment = os.environ | {"IDENTIFAI_API_KEY": KEY}
    with (root / "log").open("w") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "watcher", "run", "--config", str(config)], env=environment, stderr=log
        )
        try:
            while "daemon.started" not in (root / "log").read_text():
                time.sleep(0.05)
                if daemon.poll() is not None:
                    raise RuntimeError((root / "log").read_text())
            time.sleep(1)
            before = _cpu(daemon.pid)
            began = time.monotonic()
            for name in sorted(os.listdir(root / "incoming")):
                os.rename(root / "incoming" / name, root / "drop" / name)
            while _count(root / "done") < 2 * count or _count(root / "drop") > 0:
                time.sleep(0.01)
                if daemon.poll() is not None:
                    raise RuntimeError((root / "log").read_text())
            wall = time.monotonic() - began
            cpu = _cpu(daemon.pid) - before
            status = Path(f"/proc/{daemon.pid}/status").read_text()
            peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
        finally:
            end(daemon)
            end(server)
    return wall, peak, cpu


def _count(folder: Path) -> int:
    """What lies there, but for the marks of our own."""
    return sum(not name.startswith(".") for name in os.listdir(folder))


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def end(process: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=30)
    if process.stdout is None:
        return
    process.stdout.close()
