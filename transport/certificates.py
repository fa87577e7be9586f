"""X.509 certificates of a learner: an authority of its own, the learner's certificate, and those of its actors.

    FOLDER/authority.pem    private key and certificate of the authority (10 years); its SHA-256 is what actors know
    FOLDER/learner.pem      private key and certificate of the learner (1 year), made anew a month before it ends
    NAME.pem                what `tandem certs` makes: private key, certificate, and the authority's certificate

All are mode 0600. An authority signs for one learner only, so that whatever it signed for a server is that learner, by
whichever address it was reached: actors expect the name ``SERVER_NAME``.
"""

from __future__ import annotations

import datetime
import hashlib
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from transport.private_file import read_private, write_private

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

SERVER_NAME = "tandem-learner"
AUTHORITY_DAYS, LEARNER_DAYS, RENEW_DAYS = 3650, 365, 30
_SHORTEST = datetime.timedelta(minutes=1)
_SKEW = datetime.timedelta(hours=1)  # clocks of two machines differ
_DATE = "%Y-%m-%d %H:%M UTC"


class CertificateError(RuntimeError):
    """A certificate that cannot be made, read or used; the text says what to do."""


@dataclass(frozen=True)
class Identity:
    """A certificate with its private key, as PEM.

    Attributes:
        key: Private key.
        certificate: Certificate.
        authority: Certificate of the authority that signed it.
    """

    key: bytes
    certificate: bytes
    authority: bytes

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the authority's certificate, 64 hexadecimal digits."""
        return fingerprint(self.authority)

    def __repr__(self) -> str:
        return f"Identity({self.fingerprint})"  # never the key


def default_folder() -> Path:
    """``~/.config/tandem/tls``."""
    return Path.home() / ".config" / "tandem" / "tls"


def learner_identity(folder: Path) -> Identity:
    """The learner's, made on its first start and where it ends soon. Raises CertificateError."""
    key, authority = _authority(folder)
    found = _read(folder / "learner.pem")
    if found is None or _ends_soon(found.certificate) or not _signed_by(found.certificate, authority):
        found = _issue(key, authority, SERVER_NAME, LEARNER_DAYS, server=True)
        _write(folder / "learner.pem", found.key + found.certificate, replace=True)
    return Identity(found.key, found.certificate, authority)


def issue_actor(folder: Path, name: str, out: Path, days: int) -> Identity:
    """Makes the certificate of an actor, in one file with its key and its authority. Raises CertificateError."""
    if out.exists():
        raise CertificateError(f"{out} is there already: name another file with out=FILE, or delete it")
    key, authority = _authority(folder)
    identity = _issue(key, authority, name, days, server=False)
    _write(out, identity.key + identity.certificate + authority, replace=False)
    return identity


def read_identity(path: Path) -> Identity:
    """What ``issue_actor`` wrote. Raises CertificateError, also for one whose time has not come or is over."""
    found = _read(path)
    make = "Make one on the learner's machine: tandem certs name=NAME"
    if found is None:
        raise CertificateError(f"there is no file {path}. {make}")
    if not found.authority:
        raise CertificateError(f"{path} holds no certificate of an actor. {make}")
    again = f"Make another on the learner's machine, tandem certs name={_name(found.certificate)}, and start with that"
    check_dates(found.certificate, f"the certificate {path}", again)
    return found


def check_dates(certificate: bytes, what: str, advice: str) -> None:
    """Raises CertificateError, which begins with ``what``, for one in PEM that is malformed, or not valid now."""
    from cryptography import x509

    try:  # stricter than OpenSSL, which took it
        found = x509.load_pem_x509_certificate(certificate)
    except (ValueError, x509.InvalidVersion) as error:
        raise CertificateError(f"{what} is malformed: {error}. {advice}") from None
    now = datetime.datetime.now(datetime.UTC)
    if now > found.not_valid_after_utc:
        raise CertificateError(f"{what} expired on {found.not_valid_after_utc:{_DATE}}. {advice}")
    if now < found.not_valid_before_utc:
        raise CertificateError(
            f"{what} is not valid before {found.not_valid_before_utc:{_DATE}}, and the clock of this machine says "
            f"{now:{_DATE}}. Set the clock if that is wrong. {advice}"
        )


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a certificate in PEM, 64 hexadecimal digits."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.decode())).hexdigest()


def _authority(folder: Path) -> tuple[EllipticCurvePrivateKey, bytes]:
    path = folder / "authority.pem"
    found = _read(path)
    if found is None:
        made = _issue(None, b"", f"tandem {socket.gethostname()}"[:64], AUTHORITY_DAYS, server=True)
        _write(path, made.key + made.certificate, replace=False)
        found = _read(path)
        assert found is not None, path
    return _load_key(path, found.key), found.certificate


def _issue(signer: EllipticCurvePrivateKey | None, authority: bytes, name: str, days: int, *, server: bool) -> Identity:
    """A new key and its certificate, signed by ``signer``, or by itself as an authority."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer = x509.load_pem_x509_certificate(authority).subject if signer else subject
    now = datetime.datetime.now(datetime.UTC)
    begin = now - _SKEW
    use = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + max(datetime.timedelta(days=days), _SHORTEST))
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=0 if signer is None else None), True)
    )
    if signer is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([use]), False)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
    certificate = builder.sign(signer or key, hashes.SHA256()).public_bytes(Encoding.PEM)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Identity(private, certificate, authority)


def _read(path: Path) -> Identity | None:
    """A key and the certificates behind it; None where there is no file."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        data = read_private(path)
        if data is None:
            return None
        certificates = [c.public_bytes(Encoding.PEM) for c in x509.load_pem_x509_certificates(data)]
    except OSError as error:
        raise CertificateError(f"{path} cannot be used: {error.strerror or error}") from None
    except (ValueError, x509.InvalidVersion) as error:
        raise CertificateError(f"{path} holds no certificate: {error}. Delete it to have a new one made") from None
    key = data[: data.find(certificates[0][:27])]
    _load_key(path, key)
    return Identity(key, certificates[0], certificates[1] if len(certificates) > 1 else b"")


def _load_key(path: Path, key: bytes) -> EllipticCurvePrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        loaded = load_pem_private_key(key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"{path} holds no private key: {error}. Delete it to have a new one made") from None
    if not isinstance(loaded, EllipticCurvePrivateKey):
        raise CertificateError(f"{path} must hold a key of an elliptic curve. Got: {type(loaded).__name__}")
    return loaded


def _write(path: Path, data: bytes, *, replace: bool) -> None:
    try:
        write_private(path, data, replace=replace)
    except OSError as error:
        raise CertificateError(f"{path} cannot be written: {error.strerror}") from None


def _ends_soon(certificate: bytes) -> bool:
    from cryptography import x509

    left = x509.load_pem_x509_certificate(certificate).not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    return left < datetime.timedelta(days=RENEW_DAYS)


def _name(certificate: bytes) -> str:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    names = x509.load_pem_x509_certificate(certificate).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else "NAME"


def _signed_by(certificate: bytes, authority: bytes) -> bool:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    try:
        issued, by = (x509.load_pem_x509_certificate(pem) for pem in (certificate, authority))
        issued.verify_directly_issued_by(by)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True
