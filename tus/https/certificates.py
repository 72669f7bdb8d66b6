"""Certificates: checked before a server starts with them, and one that a first try makes for itself."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import tempfile
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..errors import OptionError

_LASTS = timedelta(days=365)  # it is for a first try
_LEFT = timedelta(days=7)  # with less than that, another one is made
_SKEW = timedelta(days=1)  # clocks of clients that are slow


class Pair(NamedTuple):
    """The files with a certificate and its key; they may be the same one."""

    certificate: str
    key: str


def check_pair(pair: Pair, now: datetime) -> None:
    """Raise what is wrong with it, by the name of the option and with what to do."""
    data = _read("tls_cert", pair.certificate)
    _read("tls_key", pair.key)
    try:
        leaf = x509.load_pem_x509_certificates(data)[0]
    except ValueError:
        raise OptionError(f"option tls_cert: {pair.certificate} has no certificate in PEM") from None
    if leaf.not_valid_after_utc < now:
        raise OptionError(
            f"option tls_cert: {pair.certificate} expired on {leaf.not_valid_after_utc:%Y-%m-%d}; renew it"
        )
    if leaf.not_valid_before_utc > now:
        raise OptionError(
            f"option tls_cert: {pair.certificate} is not valid before {leaf.not_valid_before_utc:%Y-%m-%d}; "
            "is the clock right?"
        )
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*pair, password=_no_password)
    except ssl.SSLError as error:
        raise OptionError(f"option tls_key: {_unusable(pair, error)}") from None


def _read(option: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise OptionError(f"option {option}: {path}: {(error.strerror or '').lower()}") from None


def _no_password() -> str:
    raise OptionError("option tls_key: the key is encrypted; write it without a password: openssl pkey -in KEY")


def _unusable(pair: Pair, error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"{pair.key} is not the key of {pair.certificate}; give the two that were made together"
    return f"{pair.key} has no private key in PEM that can be used ({error.reason or error})"


def sha256_of(pair: Pair) -> str:
    """SHA-256 of the certificate, as `tus put --fingerprint` takes it."""
    return _leaf(Path(pair.certificate)).fingerprint(hashes.SHA256()).hex()


def _leaf(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def self_signed(directory: Path, hosts: Iterable[str], now: datetime) -> Pair:
    """One for these hosts and this machine, that no authority knows. It is kept, so that its fingerprint stays."""
    names = {name for name in ("localhost", "127.0.0.1", "::1", socket.gethostname(), *hosts) if _is_a_name(name)}
    path = directory / "self-signed.pem"
    if not _serves(path, names, now):
        directory.mkdir(0o700, parents=True, exist_ok=True)
        _write(path, _made(sorted(names), now))
    return Pair(str(path), str(path))


def _is_a_name(text: str) -> bool:
    """Whether clients can reach a server by it."""
    try:
        return not ipaddress.ip_address(text).is_unspecified
    except ValueError:
        return text.isascii() and 0 < len(text) < 64


def _serves(path: Path, names: set[str], now: datetime) -> bool:
    try:
        check_pair(Pair(str(path), str(path)), now + _LEFT)
        found = _leaf(path).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OptionError, ValueError, x509.ExtensionNotFound):
        return False
    return names <= {str(name.value) for name in found}


def _made(names: list[str], now: datetime) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tus, self-signed")])
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _LASTS)
        .add_extension(x509.SubjectAlternativeName(list(map(_general, names))), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    return key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + certificate.public_bytes(pem)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(path: Path, data: bytes) -> None:
    """As a whole, and for nobody else to read."""
    number, name = tempfile.mkstemp(dir=path.parent)  # 0600
    with os.fdopen(number, "wb") as file:
        file.write(data)
    os.replace(name, path)
