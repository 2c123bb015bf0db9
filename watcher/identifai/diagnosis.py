"""Turn a library's error, or a reply that is not a success, into one of our errors, in words.

Whether it may have been charged is not guessed from the error: the caller knows whether the request can have
been complete, since its last part was held back.
"""

import http.client
import ssl
from collections.abc import Iterator
from http import HTTPStatus

from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema
from urllib3.exceptions import NameResolutionError, NewConnectionError, ProxyError, SSLError
from urllib3.exceptions import TimeoutError as PoolTimeoutError

from watcher.domain import Charged
from watcher.errors import (
    Forbidden,
    Intercepted,
    NeverSent,
    Rejected,
    ServiceError,
    ServiceFault,
    Throttled,
    Unanswered,
    Unauthorized,
)
from watcher.identifai.elements import parse_words
from watcher.identifai.origin import find_go_between, is_service_error
from watcher.identifai.reading import Reader, find_limit, find_retry_after_seconds
from watcher.identifai.transport import Reply, TooLong, Wire

_NETWORK = "Check this machine's network, any firewall in between, and identifai.base_url. It is tried again."
_IN_DOUBT = "It may have been charged. What happens now is what identifai.in_doubt says."
_REASON = 200  # characters
_AGAIN = "Nothing was charged. It is tried again."
BETWEEN_HINT = (
    "The answer is not in identifAI's form. Check the proxy, the firewall or the guest network that this "
    "machine goes through (HTTPS_PROXY and NO_PROXY in the service's environment), and identifai.base_url."
)


def diagnose_loss(
    error: BaseException, wire: Wire, reader: Reader, *, host: str, charged: Charged | None
) -> ServiceError:
    """Return why no answer came. `charged`: what the request cost if it was complete; None: it was not."""
    chain = list(_chain(error))
    reason = reader.line(_reason(chain), _REASON)
    unreached = _not_reached(chain, wire, host, reason)
    if unreached is not None and charged is not Charged.UNKNOWN:
        message, hint = unreached
        return NeverSent(message, hint=hint)
    cause = _interrupted(chain, wire, reason)
    if charged is None:
        return NeverSent(f"{host} {cause}; the request was cut off before its end", hint=_AGAIN)
    return Unanswered(
        f"{host} {cause}; the whole request had been sent",
        hint=_IN_DOUBT if charged is Charged.UNKNOWN else _AGAIN,
        charged=charged,
    )


def diagnose_refusal(reply: Reply, reader: Reader, *, host: str, may_be_charged: bool, now: float) -> ServiceError:
    """Return the error for a status other than success, naming who answered. `now`: for a Retry-After date."""
    status, content = reply.status, reply.content
    retry_after = find_retry_after_seconds(reply.headers, now)
    # A gateway may answer so although the service behind it took the upload and charged for it.
    is_unknown = may_be_charged and status >= 500 and status != 503
    charged = Charged.UNKNOWN if is_unknown else Charged.NO
    is_its_own = is_service_error(content)
    answered = f"{name_speaker(reply, reader, host)} answered {_named(status)}{_aside(reply, reader)}"
    if status == 429:
        said = reader.words(content) if is_its_own else answered
        return Throttled(said, retry_after=retry_after, limit=find_limit(reply.headers))
    if not is_its_own:
        hint = _between_hint(status)
        return Intercepted(answered, hint=hint, charged=charged, status=status, retry_after=retry_after)
    # Without the host's name, since these words are searched for what they blame.
    said = reader.words(content) or f"The service gave no reason with its {_named(status)}"
    match status:
        case 401:
            return Unauthorized(
                said,
                hint="Put the right API key in its place. identifai.api_key_file is read again by itself; for a "
                "key from the environment or a systemd credential, restart the service.",
                status=status,
            )
        case 403:
            return Forbidden(
                said,
                hint="Accept the terms of service in identifAI's dashboard, or ask for access to the audio API.",
                status=status,
            )
        case 400 | 413 | 422:
            return Rejected(
                said,
                hint="Look at the credit in identifAI's dashboard, and at this recording.",
                status=status,
            )
    return ServiceFault(
        answered, hint=_fault_hint(status), charged=charged, status=status, retry_after=retry_after
    )


def name_speaker(reply: Reply, reader: Reader, host: str) -> str:
    """Return who gave this answer, as far as can be told: only JSON can come from the service."""
    if parse_words(reply.content) is not None and (reply.status < 300 or is_service_error(reply.content)):
        return host
    go_between = reader.line(find_go_between(reply.headers), _REASON)
    return f"Something between this machine and {host}" + (f" ({go_between})" if go_between else "")


def _fault_hint(status: int) -> str:
    if status in (404, 405):
        return "Check identifai.base_url: its scheme, host and path."
    if status == 402:
        return "Buy credit or raise the plan; `watcher resume` tries at once."
    return "Nothing to do: it is tried again. Should it last, ask identifAI's support."


def _between_hint(status: int) -> str:
    if status == 407:
        return "A proxy asks for a user: put it into HTTPS_PROXY in the service's environment."
    if 300 <= status < 400 or status == 511:
        return f"{BETWEEN_HINT} Redirects are not followed: log in where the network asks for it."
    if status >= 500:
        return f"It is tried again. Should it last: {BETWEEN_HINT[0].lower()}{BETWEEN_HINT[1:]}"
    if status in (401, 403):
        return f"{BETWEEN_HINT} If nothing of the kind is there, check the API key."
    return BETWEEN_HINT


def _aside(reply: Reply, reader: Reader) -> str:
    """Return what else the reply says: where it points, or its words."""
    if location := reader.line(reply.headers.get("Location", "").partition("?")[0], _REASON):
        return f", pointing to {location}"
    words = reader.line(reader.words(reply.content), _REASON)
    return f": {words}" if words else ""


def _named(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and its causes: libraries keep causes in `args`, in `reason`, and in Python's own links."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        links = (current.__cause__, current.__context__, getattr(current, "reason", None), *current.args)
        waiting += [link for link in links if isinstance(link, BaseException)]


def _not_reached(chain: list[BaseException], wire: Wire, host: str, reason: str) -> tuple[str, str] | None:
    """Return the message and the hint where no connection was made; None where one was."""

    def find(*kinds: type[BaseException]) -> BaseException | None:
        return next((e for e in chain if isinstance(e, kinds)), None)

    if find(ProxyError):
        return (
            f"The proxy on the way to {host} cannot be used: {reason}",
            "Check HTTPS_PROXY, HTTP_PROXY and NO_PROXY in the service's environment. It is tried again.",
        )
    if find(NameResolutionError):
        return f"The name {host} cannot be resolved: {reason}", f"Check the machine's DNS. {_NETWORK}"
    if wire.socket is None and find(PoolTimeoutError, TimeoutError) and not find(NewConnectionError):
        return f"No connection to {host} in identifai.connect_timeout_seconds", _NETWORK
    if find(NewConnectionError):
        return f"No connection to {host}: {reason}", _NETWORK
    if find(ssl.SSLCertVerificationError):
        return (
            f"The certificate of {host} is not trusted: {reason}",
            "Check this machine's clock. Where a proxy opens TLS, name its CA in REQUESTS_CA_BUNDLE.",
        )
    if find(SSLError, ssl.SSLError):
        return (
            f"No TLS connection to {host}: {reason}",
            "Check identifai.base_url (http or https?), this machine's clock, and any proxy in between.",
        )
    if find(InvalidURL, InvalidSchema, MissingSchema, UnicodeError):
        return f"{host} cannot be asked: {reason}", "Check identifai.base_url and the proxies in the environment."
    if type(chain[0]) is OSError:  # what requests says of a CA bundle that is not there
        return f"{host} cannot be asked: {reason}", "Check REQUESTS_CA_BUNDLE in the service's environment."
    return None


def _interrupted(chain: list[BaseException], wire: Wire, reason: str) -> str:
    """Return how an exchange that had begun ended."""
    if wire.is_over():
        return f"was not done within {wire.deadline_seconds:g} s in all"
    if any(isinstance(e, TimeoutError | PoolTimeoutError) for e in chain):
        return f"took or sent nothing for {wire.read_timeout_seconds:g} s"
    if any(isinstance(e, TooLong) for e in chain):
        return "sent an answer that is far too long"
    if any(isinstance(e, http.client.IncompleteRead) for e in chain):
        return "closed the connection in the middle of its answer"
    if any(isinstance(e, ConnectionError) for e in chain):
        return "closed the connection"
    return f"answered with something that is not HTTP: {reason}"


def _reason(chain: list[BaseException]) -> str:
    """Return the innermost error, in the system's words."""
    for error in reversed(chain):
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
    return str(chain[-1]) or type(chain[-1]).__name__
