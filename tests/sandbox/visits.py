"""Visits to the sandbox: well-formed ones through requests, any others byte by byte."""

import socket
import time
from urllib.parse import urlsplit

import requests

from watcher.sandbox import LedgerEntry, Sandbox

KEY = "k" * 20
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt "
POST = "/api/classification_audio"
LIST = "/api/classifications_audio"


def submit(
    sandbox: Sandbox,
    audio: bytes = WAV,
    *,
    accept: str = "application/json",
    key: str = KEY,
    filename: str = "call.wav",
    **fields: str,
) -> requests.Response:
    return requests.post(
        sandbox.url + POST,
        files={"audio": (filename, audio, "audio/wav")},
        data=fields,
        headers={"X-Api-Key": key, "Accept": accept},
        timeout=10,
        allow_redirects=False,
    )


def get(sandbox: Sandbox, path: str, **headers: str) -> requests.Response:
    said = {"X-Api-Key": KEY, "Accept": "application/json", **headers}
    return requests.get(sandbox.url + path, headers=said, timeout=10)


def last(sandbox: Sandbox) -> LedgerEntry:
    return sandbox.ledger[-1]


def converse(sandbox: Sandbox, sent: bytes, *, hang_up: bool = True, piece: int = 1_000_000) -> bytes:
    """Everything the sandbox says to these bytes, sent in such pieces on a connection of their own."""
    parts = urlsplit(sandbox.url)
    with socket.create_connection((parts.hostname, parts.port or 0), timeout=10) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(sent), piece):
            peer.sendall(sent[at : at + piece])
        if hang_up:
            peer.shutdown(socket.SHUT_WR)
        said = b""
        try:
            while more := peer.recv(65_536):
                said += more
        except ConnectionResetError:
            pass
        return said


def wait_for_entry(sandbox: Sandbox, number: int) -> LedgerEntry:
    for _ in range(1_000):
        if len(sandbox.ledger) >= number:
            return sandbox.ledger[number - 1]
        time.sleep(0.005)  # noqa: TID251
    raise AssertionError(f"there are {len(sandbox.ledger)} entries")


def form(*parts: tuple[str, bytes], boundary: str = "xYz") -> bytes:
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"
        for disposition, content in parts
    )
    return body + f"--{boundary}--\r\n".encode()


def post_form(sandbox: Sandbox, body: bytes) -> requests.Response:
    return requests.post(
        sandbox.url + POST,
        data=body,
        headers={
            "X-Api-Key": KEY,
            "Accept": "application/json",
            "Content-Type": "multipart/form-data; boundary=xYz",
        },
        timeout=10,
    )
