"""What the client's tests share: no proxy of the environment's, and a certificate of their own."""

import ssl

import pytest

# One key pair for these tests alone: self-signed for localhost and 127.0.0.1, from 2020 to 2119.
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgRgGeNr2cIkE1yadi
7OeYD3Y98D5zk1XlCNf+7EtQxR2hRANCAARUj9U3r4CibGgScAcpU8IVXf3o69ZE
YZJz1VPM6GAxZCYzUmbQqnIkZ/NGMlh2f0+n0qUKgMjSJulzS6zWnIGi
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBijCCAS+gAwIBAgIBATAKBggqhkjOPQQDAjAdMRswGQYDVQQDDBJsb29wYmFj
ayBmb3IgdGVzdHMwIBcNMjAwMTAxMDAwMDAwWhgPMjExOTAxMDEwMDAwMDBaMB0x
GzAZBgNVBAMMEmxvb3BiYWNrIGZvciB0ZXN0czBZMBMGByqGSM49AgEGCCqGSM49
AwEHA0IABFSP1TevgKJsaBJwBylTwhVd/ejr1kRhknPVU8zoYDFkJjNSZtCqciRn
80YyWHZ/T6fSpQqAyNIm6XNLrNacgaKjXjBcMA8GA1UdEwEB/wQFMAMBAf8wDgYD
VR0PAQH/BAQDAgKEMBoGA1UdEQQTMBGCCWxvY2FsaG9zdIcEfwAAATAdBgNVHQ4E
FgQUpxZcQQZRkF+ROhnKJpdauQhPbvUwCgYIKoZIzj0EAwIDSQAwRgIhAJc0XX+A
+Vd4GKlpp265etYUHhIA+l2nnLB2zJx4o+50AiEA5vAQFwzD4+C3Je/fjE740dC9
yGrwXa1GRAF/NxrCAz8=
-----END CERTIFICATE-----
"""


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def certificate(tmp_path) -> str:  # type: ignore[no-untyped-def]
    path = tmp_path / "certificate.pem"
    path.write_text(CERTIFICATE)
    return str(path)


@pytest.fixture
def tls(certificate: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
