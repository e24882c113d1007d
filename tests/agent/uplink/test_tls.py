"""TLS: the trust file's CA and no other, the right name, or nothing is said."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from modelfleet_agent.uplink.transport import HttpTransport, Outgoing
from modelfleet_core.errors import WorldError

from tests.agent.fakes import FakeController
from tests.agent.http_fake import _Handler

pytestmark = pytest.mark.server
DAY = dt.timedelta(days=1)
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
FAR = dt.datetime(2099, 1, 1, tzinfo=dt.UTC)


@dataclass
class Authority:
    """A private certificate authority."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def server(self, address: str, folder: Path) -> Path:
        """Key and certificate of a server, in one file."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        certificate = (
            _builder(address, self.certificate.subject, key)
            .add_extension(names, critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
            .sign(self.key, hashes.SHA256())
        )
        path = folder / f"{address}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        return path


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(FAR)
    )


def authority(name: str) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(name, _name(name), key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(key, certificate)


class Quiet(ThreadingHTTPServer):
    """Refused handshakes are what is tested: nothing to print."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@pytest.fixture
def own() -> Authority:
    return authority("own")


def serving(pem: Path) -> Iterator[str]:
    handler = type("Handler", (_Handler,), {"controller": FakeController()})
    server = Quiet(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def url(own: Authority, tmp_path: Path) -> Iterator[str]:
    yield from serving(own.server("127.0.0.1", tmp_path))


@pytest.fixture
def misnamed(own: Authority, tmp_path: Path) -> Iterator[str]:
    yield from serving(own.server("127.0.0.2", tmp_path))


def ask(url: str, ca: str | None) -> bytes:
    transport = HttpTransport(url, ca)
    try:
        return transport.send(Outgoing("GET", "/livez", {})).body
    finally:
        transport.close()


def test_the_authority_of_the_trust_file_is_believed(url: str, own: Authority) -> None:
    assert ask(url, own.pem) == b"ok"


def test_no_other_authority_is(url: str) -> None:
    for ca in (authority("stranger").pem, None):
        with pytest.raises(WorldError, match=r"MF-5010.*certificate verify failed"):
            ask(url, ca)


def test_the_certificate_must_name_the_controller(misnamed: str, own: Authority) -> None:
    with pytest.raises(WorldError, match=r"MF-5010.*(mismatch|not valid)"):
        ask(misnamed, own.pem)


def test_plain_http_to_a_tls_port_is_an_error_like_others(url: str) -> None:
    with pytest.raises(WorldError, match="MF-5010"):
        ask(url.replace("https", "http"), None)
