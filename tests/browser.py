"""A real Chromium without a window, driven over DevTools' own protocol through a pair of pipes."""

import base64
import json
import os
import select
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.process.programs import CLOCK

_PATIENCE_SECONDS = 60.0
_KEYS = {"Tab": 9, "Enter": 13}


def find_chromium() -> str:
    """Debian's Chromium. Without it the test is skipped at home, and fails under CI."""
    found = shutil.which("chromium")
    if found is None:
        missing = "chromium is missing: apt-get install chromium"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    return found or ""


class Browser:
    """One browser with one page."""

    def __init__(self, to: int, from_: int) -> None:
        self._to, self._from = to, from_
        self._number = 0
        self._rest = b""
        self._events: list[dict[str, Any]] = []
        target = self._ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self._ask("Target.attachToTarget", {"targetId": target, "flatten": True})
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "DOM", "Accessibility"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **values: Any) -> dict[str, Any]:
        return self._ask(method, values, session=self._session)

    def open(self, page: Path | str, *, width: int = 1100, height: int = 800, dark: bool = False) -> None:
        """Show the page, a file or a URL, as wide as a screen, in light or dark, and wait until it is there."""
        self._events.clear()
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", media="", features=scheme)
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.call("Page.navigate", url=page.as_uri() if isinstance(page, Path) else page)
        self._await("Page.loadEventFired")

    def before_each_page(self, script: str) -> None:
        """Have this run in every page that is opened from now on, before its own scripts."""
        self.call("Page.addScriptToEvaluateOnNewDocument", source=script)

    def allow_scripts(self, allowed: bool) -> None:
        """Let the scripts of pages run, or none."""
        self.call("Emulation.setScriptExecutionDisabled", value=not allowed)

    def await_true(self, expression: str) -> None:
        """Wait until the script comes to something true."""
        until = CLOCK.monotonic() + _PATIENCE_SECONDS
        while not self.run(expression):
            assert CLOCK.monotonic() < until, expression
            CLOCK.wait(0.05, threading.Event())

    def type_key(self, key: str) -> None:
        """Press a key, such as Tab."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=_KEYS[key])

    def names_of(self, role: str) -> list[str]:
        """The names of all elements in this role, in their order, as a screen reader tells them."""
        return [name for name, _ in self._in_role(role)]

    def read(self) -> str:
        """What can be read on the page, with single blanks."""
        return " ".join(str(self.run("document.body.innerText")).split())

    def press(self, role: str, name: str) -> None:
        """Click on the one element in this role and of this name, and wait for the page that comes of it."""
        element = self._only(role, name)
        self.call("DOM.scrollIntoViewIfNeeded", backendNodeId=element)
        quad = self.call("DOM.getContentQuads", backendNodeId=element)["quads"][0]
        at = {"x": (quad[0] + quad[4]) / 2, "y": (quad[1] + quad[5]) / 2, "button": "left", "clickCount": 1}
        self._events.clear()
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, **at)
        self._await("Page.loadEventFired")

    def fill(self, role: str, name: str, text: str) -> None:
        """Type the text into the one field in this role and of this name, in place of what is there."""
        self.call("DOM.focus", backendNodeId=self._only(role, name))
        self.run("document.activeElement.select()")
        self.call("Input.insertText", text=text)

    def _only(self, role: str, name: str) -> int:
        found = [element for named, element in self._in_role(role) if named == name]
        assert len(found) == 1, f"{len(found)} x {role} {name!r}, of {self.names_of(role)}"
        return found[0]

    def _in_role(self, role: str) -> list[tuple[str, int]]:
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [
            (str(node.get("name", {}).get("value", "")), node["backendDOMNodeId"])
            for node in nodes
            if not node.get("ignored") and node.get("role", {}).get("value") == role
        ]

    def print_out(self) -> bytes:
        """The page as paper has it, a PDF."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"])

    def show_as_printed(self) -> None:
        """Let the page look as it would on paper."""
        self.call("Emulation.setEmulatedMedia", media="print")

    def run(self, expression: str) -> Any:
        """What the script comes to. The page's own policy keeps every script out but this one."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def shoot(self, into: Path) -> Path:
        """A picture of the whole page."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        into.write_bytes(base64.b64decode(shot["data"]))
        return into

    def asked_for(self) -> list[str]:
        """All that the page has asked for since it was opened."""
        sent = [e["params"]["request"]["url"] for e in self._events if e["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith("data:")]

    def complaints(self) -> list[str]:
        """What the browser has logged of it, and every script that ran in it or tried to."""
        told = [e["params"]["entry"]["text"] for e in self._events if e["method"] == "Log.entryAdded"]
        noisy = ("Page.javascriptDialogOpening", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        return told + [e["method"] for e in self._events if e["method"] in noisy]

    def violations(self) -> list[str]:
        """What axe-core finds wrong with the page, for people who cannot see it or not well."""
        self.run((files("axe_core_python") / "axe.min.js").read_text() + "; 0")
        found = self.run(
            "axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.map("
            "v => v.id + ': ' + v.nodes.slice(0, 3).map(n => n.html.slice(0, 150)).join(' | ')))"
        )
        return list(found)

    def _ask(self, method: str, values: dict[str, Any], session: str = "") -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": values}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer)
                return dict(answer["result"])
            self._events.append(answer)

    def _await(self, event: str) -> None:
        while not any(e.get("method") == event for e in self._events):
            self._events.append(self._read())

    def _read(self) -> dict[str, Any]:
        until = CLOCK.monotonic() + _PATIENCE_SECONDS
        while b"\0" not in self._rest:
            assert CLOCK.monotonic() < until, "the browser does not answer"
            if select.select([self._from], [], [], 1.0)[0]:
                chunk = os.read(self._from, 1 << 20)
                assert chunk, "the browser has ended"
                self._rest += chunk
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))


@contextmanager
def browsing(profile: Path) -> Iterator[Browser]:
    """A browser for the length of the block. It is told to use descriptors 3 and 4."""
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    command = [find_chromium(), "--headless=new", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run"]
    command += ["--disable-dev-shm-usage", "--hide-scrollbars", f"--user-data-dir={profile}", "--no-sandbox"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "about:blank"]
    dup = f'exec 3<&{to_read} 4>&{from_write}; exec "$@"'
    process = subprocess.Popen(
        ["bash", "-c", dup, "browser", *command],
        pass_fds=(to_read, from_write),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "HOME": str(profile), "LANG": "C.UTF-8"},
    )
    os.close(to_read)
    os.close(from_write)
    try:
        browser = Browser(to_write, from_read)
        yield browser
    finally:
        process.kill()
        process.wait()
        os.close(to_write)
        os.close(from_read)
