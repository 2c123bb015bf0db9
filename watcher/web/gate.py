"""The gate: what every request must pass, in this order, before a route sees it. Pure.

1. Host is exactly one that the page is asked by. Otherwise any website could have its own name point here (DNS
   rebinding): its Origin would equal its Host, so nothing that follows would help.
2. What may change something comes from a page of ours: a browser says so in Sec-Fetch-Site, an older one in
   Origin. There are no cookies, so there are no tokens. Its body is a form, as a browser sends it.
3. The password, where there is one.
4. read_only: what may change something is refused, whatever the page shows.
5. The body is small. That it comes in time is the server's business.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

SAFE = frozenset({"GET", "HEAD"})
"""The methods that change nothing. OPTIONS is not among them: nothing of ours is for other origins."""

FORM = "application/x-www-form-urlencoded"
MOST_BYTES = 65_536
"""The most that the body of a request may have."""

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_HTTP_PORT = 80
_MOST_DIGITS = 10

Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served, in words for whoever sent it."""

    status: int
    words: str
    asks_password: bool = False


def allowed_hosts(hosts: Iterable[str], host: str, port: int) -> frozenset[str]:
    """Return the values that Host may have: the loopback names with the port, and those of the configuration.

    `host` and `port`: where the page listens. A name of the configuration without a port may come with ours, as it
    does without a proxy in between.
    """
    names = {*_LOOPBACK, *([host] if host.startswith("127.") else [])}
    allowed = {f"{name}:{port}" for name in names}
    if port == _HTTP_PORT:
        allowed |= names  # a browser leaves this port out
    for each in hosts:
        allowed.add(each.lower())
        if not _has_port(each):
            allowed.add(f"{each.lower()}:{port}")
    return frozenset(allowed)


def _has_port(host: str) -> bool:
    return ":" in host.rpartition("]")[2]


@dataclass(frozen=True, slots=True)
class Rules:
    """What the gate goes by."""

    hosts: frozenset[str]
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request. Header names are in lower case, as servers give them."""

    method: str
    path: str
    headers: Headers = field(default=())

    def values(self, name: str) -> list[str]:
        wanted = name.encode()
        return [value.decode("latin-1").strip() for header, value in self.headers if header == wanted]

    def only(self, name: str) -> str | None:
        """The header's one value; None where there is none, "" where there are several."""
        values = self.values(name)
        return (values[0] if len(values) == 1 else "") if values else None


def refuse_origin(head: Head, rules: Rules) -> Refusal | None:
    """Return why the request is refused for where it comes from (points 1 and 2); None: it is not."""
    host = (head.only("host") or "").lower()
    if host not in rules.hosts:
        return Refusal(403, "This page is not served under that name. Names are added in web.hosts.")
    if head.method in SAFE:
        return None
    if not _is_from_us(head, host):
        return Refusal(
            403, "Refused: this was sent from another website, or by a program that does not say whence."
        )
    if (head.only("content-type") or "").partition(";")[0].strip().lower() != FORM:
        return Refusal(415, f"Only forms are taken here: {FORM}.")
    return None


def _is_from_us(head: Head, host: str) -> bool:
    if (site := head.only("sec-fetch-site")) is not None:
        return site in ("same-origin", "none")
    scheme, separator, origin = (head.only("origin") or "").lower().partition("://")
    return scheme in ("http", "https") and bool(separator) and origin == host


def refuse_deed(head: Head, rules: Rules) -> Refusal | None:
    """Return why what the request would do is refused (points 4 and 5); None: it is not."""
    if rules.read_only and head.method not in SAFE:
        return Refusal(403, "This page only shows (web.read_only). Use the commands.")
    length = head.only("content-length")
    if length is None or (length.isdecimal() and len(length) <= _MOST_DIGITS and int(length) <= MOST_BYTES):
        return None
    return TOO_LARGE


TOO_LARGE = Refusal(413, f"At most {MOST_BYTES:,} bytes are taken.")
CROWDED = Refusal(429, "Too many passwords are being tried. Try again in a few seconds.")
UNKNOWN = Refusal(401, "The page wants its password. Any user name will do.", asks_password=True)
