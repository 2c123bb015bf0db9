"""Connections that are kept, secured, or led through a proxy; and that the key leaves by none of them."""

import socket
import ssl

import pytest

from tests.client.servers import (
    ACCEPTED,
    IDENTIFIER,
    UNAUTHORIZED,
    Peer,
    Talk,
    answer,
    answering,
    closing,
    deaf,
    early,
    trickling,
    wait_until,
)
from tests.client.uploads import AUDIO, KEY, ShiftedClock, client_of, failure_of, go, upload_of
from watcher.errors import ConfigError, NeverSent, Unanswered, Unauthorized
from watcher.identifai.transport import IDLE_SECONDS

# Connections that are kept


def test_connection_closed_between_uploads_costs_nothing() -> None:
    """A kept connection that the service closed meanwhile is replaced, and no error comes of it."""
    with Peer(closing(ACCEPTED)) as peer, client_of(peer.url) as client:
        for n in range(5):
            client.submit(upload_of(), go)
            wait_until(lambda n=n: peer._open[n].fileno() == -1)  # type: ignore[misc]
    assert peer.connections == 5


def test_connection_idle_for_long_is_not_trusted() -> None:
    """A connection that has been idle for long is replaced before the service's close can cross an upload."""
    clock = ShiftedClock()
    with Peer(answering()) as peer, client_of(peer.url, clock=clock) as client:
        client.submit(upload_of(), go)
        client.submit(upload_of(), go)
        assert peer.connections == 1
        clock.shift_seconds = IDLE_SECONDS
        client.submit(upload_of(), go)
    assert peer.connections == 2


# TLS, proxies, secrets


def test_tls_with_the_environments_ca(tls, certificate, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Over TLS everything is the same: session tickets are not taken for an answer, the connection is kept."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate)
    with Peer(answering(), tls=tls) as peer, client_of(peer.url) as client:
        for _ in range(2):
            assert client.submit(upload_of(AUDIO * 10), go).identifier == IDENTIFIER
    assert peer.connections == 1
    assert all(seen.is_whole for seen in peer.seen)


def test_tls_early_answer_and_deadline(tls, certificate, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Over TLS too an early answer is read, and a trickled one given up at the deadline."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate)
    with Peer(early(UNAUTHORIZED, then_close=False), tls=tls) as peer:
        assert isinstance(failure_of(peer.url, upload_of(AUDIO * 40)), Unauthorized)
    with Peer(trickling(answer(b" " * 500)), tls=tls) as peer:
        assert isinstance(failure_of(peer.url, deadline=0.5), Unanswered)


def test_tls_that_takes_nothing(tls, certificate, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Over TLS too a service that stops reading is given up, and not taken for one that speaks no TLS."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate)
    with Peer(deaf, tls=tls) as peer:
        error = failure_of(peer.url, upload_of(AUDIO * 40), read=0.3)
    assert isinstance(error, NeverSent)
    assert "nothing for 0.3 s" in error.message


def test_untrusted_certificate_is_never_sent(tls: ssl.SSLContext) -> None:
    """Who cannot prove to be the service gets nothing; the hint names the clock and the CA."""
    with Peer(answering(), tls=tls) as peer:
        error = failure_of(peer.url)
    assert isinstance(error, NeverSent)
    assert "certificate" in error.message
    assert "clock" in error.hint
    assert "REQUESTS_CA_BUNDLE" in error.hint


def test_no_tls_where_it_is_expected() -> None:
    """A plain server under an https URL is named as such, and has been sent nothing."""

    def plain(talk: Talk) -> None:
        talk.sock.recv(1)
        talk.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with Peer(plain) as peer:
        error = failure_of(peer.url.replace("http:", "https:"), read=1)
    assert isinstance(error, NeverSent)
    assert "TLS" in error.message


def test_handshake_that_never_ends_is_never_sent() -> None:
    """A server that accepts and then is silent under an https URL is given up after the connect timeout."""
    with Peer(deaf) as peer:
        error = failure_of(peer.url.replace("http:", "https:"), connect=0.2)
    assert isinstance(error, NeverSent)
    assert "connect_timeout_seconds" in error.message


def test_missing_ca_bundle_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CA bundle that is not there is the environment's fault, and named."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/bundle.pem")
    error = failure_of("https://127.0.0.1:9")
    assert isinstance(error, NeverSent)
    assert "REQUESTS_CA_BUNDLE" in error.hint


def test_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy that operators set is asked, except for this machine's own addresses."""
    with Peer(answering()) as proxy, Peer(answering()) as peer:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        with client_of("http://service.invalid") as client:
            assert client.submit(upload_of(), go).identifier == IDENTIFIER
        with client_of(peer.url) as client:
            client.submit(upload_of(), go)
    assert proxy.seen[0].head.startswith("POST http://service.invalid/api/classification_audio ")
    assert (proxy.connections, peer.connections) == (1, 1)


def test_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that cannot be reached is named, with the variables to look at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("https_proxy", f"http://user:hush@127.0.0.1:{port}")
    error = failure_of("https://service.invalid")
    assert isinstance(error, NeverSent)
    assert "proxy" in error.message
    assert "HTTPS_PROXY" in error.hint
    assert "hush" not in error.message


@pytest.mark.parametrize("key", ["", "  ", "two\nlines", "schlüssel", "tab\there"])
def test_key_that_no_header_can_carry(key: str) -> None:
    """A malformed key is refused at the start, without being shown."""
    with pytest.raises(ConfigError) as caught, client_of("http://127.0.0.1", key=key):
        pass
    assert not key.strip() or key not in str(caught.value)


def test_client_does_not_show_the_key() -> None:
    """Nothing that prints a client prints its key."""
    with client_of("http://127.0.0.1") as client:
        assert KEY not in f"{client!r} {vars(client)!r}"
