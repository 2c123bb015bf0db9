"""The client of the identifAI audio API: where every request is made, and every failure becomes one of our errors.

Nothing is retried, redirected or paced here: a call is one request, and the caller decides what follows. Every
text of an answer, a proxy or a library passes through the reader's `line`, so that none has the key in it.
"""

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol
from urllib.parse import quote, urlsplit

import requests
from urllib3.exceptions import DecodeError

from watcher.clock import Clock
from watcher.domain import Charged
from watcher.errors import (
    ConfigError,
    NeverSent,
    Rejected,
    ServiceError,
    ServiceFault,
    Throttled,
    Unintelligible,
)
from watcher.identifai.diagnosis import BETWEEN_HINT, diagnose_loss, diagnose_refusal, name_speaker
from watcher.identifai.elements import MOST_BYTES, MOST_WORD_BYTES
from watcher.identifai.reading import Reader, Reading
from watcher.identifai.transport import FOREIGN_ERRORS, Reply, TooLong, Transport, Wire
from watcher.identifai.upload import Body, Cut, Upload
from watcher.redaction import Redactor

IDENTIFIERS_A_CALL = 90
"""The most identifiers to ask for at once. The service takes 100, but so many make a request line of more than
the 8 KiB that web servers take by default."""

PROBE_SECONDS = 30.0  # more than a healthy service takes


class Secret(Protocol):
    """Something that shows the key only on request."""

    def reveal(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Accepted:
    """The service took the recording, and will answer for it under this identifier."""

    identifier: str
    status: int


class Client:
    """The service at one base URL, asked with one key. Threads may share it; `close` ends its connections.

    `deadline_seconds` bounds one call in all, from the first byte sent to the last byte read, except for the time
    that `release` takes and for looking up the host's name, which the system bounds.
    """

    def __init__(
        self,
        *,
        base_url: str,
        key: Secret,
        connect_timeout_seconds: float,
        read_timeout_seconds: float,
        deadline_seconds: float,
        version: str,
        clock: Clock,
    ) -> None:
        """Raises ConfigError for a key that no header can carry (a library's own error about it would show it),
        and for a base URL that is none, or that holds a user and a password beside the key.
        """
        _check(key)
        self._base_url = base_url.rstrip("/")
        self._host = _host_of(base_url)
        self._key = key
        self._redactor = Redactor(key.reveal())
        self._reader = Reader(self._redactor)
        self._connect_timeout_seconds = connect_timeout_seconds
        self._read_timeout_seconds = read_timeout_seconds
        self._deadline_seconds = deadline_seconds
        self._agent = (
            f"identifai-watcher/{version} "
            f"(python-requests/{requests.__version__}; Python {platform.python_version()})"
        )
        self._clock = clock
        self._transport = Transport(self._base_url)

    def submit(self, upload: Upload, release: Callable[[], None]) -> Accepted:
        """Submit this very recording, and return the identifier that the service gave it.

        `release` is called once, when everything but the last part is sent and the recording was found to be the
        one that was examined; the last part follows when it returns. What it raises passes through unchanged, and
        the request is cut off: nothing is charged. Raises RecordingChanged or RecordingUnreachable, with nothing
        charged, and a ServiceError whose `charged` is "no" wherever the last part was not let go.
        """
        wire = self._wire()
        body = Body(upload, wire.uncounted(release), wire.is_answered)
        failure: BaseException
        try:
            reply = self._ask("POST", "/api/classification_audio", wire, MOST_WORD_BYTES, body)
        except Cut as cut:
            failure = cut.failure
        except FOREIGN_ERRORS as error:
            charged = Charged.UNKNOWN if body.is_released else None
            raise self._lost(error, wire, charged) from error
        else:
            return self._accepted(reply, wire, is_whole=body.is_released)
        raise failure  # here, and not where it was caught, so that it comes out as it went in

    def verdicts(self, identifiers: Sequence[str], most_seconds: float = inf) -> dict[str, Reading]:
        """Return what the service says of each identifier now; one it does not know (yet) is absent.

        Raises a ServiceError that has charged nothing, after `most_seconds` without an answer at the latest.
        At most 100 identifiers; IDENTIFIERS_A_CALL is wiser.
        """
        if not 0 < len(identifiers) <= 100:
            raise ValueError(f"The service takes 1 to 100 identifiers a call, not {len(identifiers)}.")
        return self._verdicts(identifiers, self._wire(most_seconds))

    def probe(self, identifier: str) -> None:
        """Ask about this identifier; the service itself answered, even if only that it does not know it.

        Raises a ServiceError that has charged nothing: the service's refusal, or why there was no answer.
        """
        try:
            self._verdicts([identifier], self._wire(PROBE_SECONDS))
        except (Rejected, Throttled):
            return
        except ServiceFault as error:
            if error.status is None or error.status == 402 or error.status >= 500:
                raise

    def _verdicts(self, identifiers: Sequence[str], wire: Wire) -> dict[str, Reading]:
        query = "&".join(f"identifiers[]={quote(identifier, safe='')}" for identifier in identifiers)
        try:
            reply = self._ask("GET", f"/api/classifications_audio?{query}", wire, MOST_BYTES)
        except FOREIGN_ERRORS as error:
            raise self._lost(error, wire, Charged.NO) from error
        if reply.status != 200:
            raise self._refusal(reply, may_be_charged=False) from reply.trouble
        readings = self._reader.verdicts(reply.content, set(identifiers))
        if readings is None:
            raise self._unintelligible(reply, wire, "no list of verdicts", Charged.NO) from reply.trouble
        return readings

    def renew(self, key: Secret) -> None:
        """Use this key from now on; neither it nor an earlier one appears in any text.

        Raises ConfigError as in the constructor, and keeps the old key then.
        """
        _check(key)
        self._redactor = Redactor(key.reveal(), self._redactor)
        self._reader = Reader(self._redactor)  # before it is sent for the first time
        self._key = key

    def close(self) -> None:
        """End the connections that are kept alive."""
        self._transport.close()

    def _wire(self, most_seconds: float = inf) -> Wire:
        return Wire(
            self._clock,
            read_timeout_seconds=self._read_timeout_seconds,
            deadline_seconds=min(self._deadline_seconds, most_seconds),
        )

    def _ask(self, method: str, path: str, wire: Wire, most_bytes: int, body: Body | None = None) -> Reply:
        headers = {
            "Accept": "application/json",  # alone: with any other type, errors come as pages and redirects
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": self._agent,
            "X-Api-Key": self._key.reveal(),
        }
        if body is not None:
            headers["Content-Type"] = body.content_type
        request = requests.Request(method, self._base_url + path, headers=headers, data=body).prepare()
        return self._transport.exchange(
            request,
            wire,
            connect_timeout_seconds=self._connect_timeout_seconds,
            most_bytes=most_bytes,
            most_words_bytes=MOST_WORD_BYTES,
        )

    def _accepted(self, reply: Reply, wire: Wire, *, is_whole: bool) -> Accepted:
        """Return the identifier in a reply to an upload. Raises what any other reply means."""
        if not 200 <= reply.status < 300:
            raise self._refusal(reply, may_be_charged=is_whole) from reply.trouble
        if not is_whole:
            raise NeverSent(
                f"{self._speaker(reply)} answered {reply.status} before it had the whole recording",
                hint=BETWEEN_HINT,
                status=reply.status,
            )
        identifier = self._reader.identifier(reply.content)
        if identifier is None:
            raise self._unintelligible(reply, wire, "no identifier", Charged.UNKNOWN) from reply.trouble
        return Accepted(identifier, reply.status)

    def _refusal(self, reply: Reply, *, may_be_charged: bool) -> ServiceError:
        return diagnose_refusal(
            reply, self._reader, host=self._host, may_be_charged=may_be_charged, now=self._clock.now()
        )

    def _lost(self, error: BaseException, wire: Wire, charged: Charged | None) -> ServiceError:
        return diagnose_loss(error, wire, self._reader, host=self._host, charged=charged)

    def _unintelligible(self, reply: Reply, wire: Wire, missing: str, charged: Charged) -> ServiceError:
        """Return the error for a success without its content: it was cut off, or is not from the service."""
        if reply.trouble is not None and not isinstance(reply.trouble, DecodeError | TooLong):
            return self._lost(reply.trouble, wire, charged)
        words = self._reader.words(reply.content)
        return Unintelligible(
            f"{self._speaker(reply)} answered {reply.status} with {missing}" + (f": {words}" if words else ""),
            hint=BETWEEN_HINT,
            charged=charged,
            status=reply.status,
        )

    def _speaker(self, reply: Reply) -> str:
        return name_speaker(reply, self._reader, self._host)


def _check(key: Secret) -> None:
    """Raises ConfigError for a key that no header can carry."""
    if not key.reveal().isascii() or not key.reveal().isprintable() or not key.reveal().strip():
        raise ConfigError(
            "The API key is empty, or has characters that no key has",
            hint="Copy it from identifAI's dashboard again, alone and on one line.",
        )


def _host_of(base_url: str) -> str:
    """The host and port. Raises ConfigError for a URL that no key may be sent to."""
    try:
        parts = urlsplit(base_url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ConfigError(
            "identifai.base_url is not an http or https URL of a host alone",
            hint='Write it like "https://backend.identifai.net", without a user or a password.',
        )
    return parts.netloc
