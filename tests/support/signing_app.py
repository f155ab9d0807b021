"""The user's app with signed messages; run by itself, it sends tasks, which only a process with the key can."""

from __future__ import annotations

import datetime
import os
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

KEY, CERTIFICATE = "signing.key", "signing.pem"


def make_key(folder: Path) -> dict[str, str]:
    """Make a key and its certificate; the environment that names them."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    unencrypted = (serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    (folder / KEY).write_bytes(key.private_bytes(serialization.Encoding.PEM, *unencrypted))
    (folder / CERTIFICATE).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return {"SIGNING_FOLDER": str(folder)}


if "SIGNING_FOLDER" in os.environ:
    from tests.support.user_app import app, spend

    folder = os.environ["SIGNING_FOLDER"]
    app.conf.update(
        security_key=f"{folder}/{KEY}",
        security_certificate=f"{folder}/{CERTIFICATE}",
        security_cert_store=f"{folder}/*.pem",
        security_digest="sha256",
        task_serializer="auth",
        accept_content=["auth"],
        event_serializer="auth",
        result_accept_content=["json"],
    )
    app.setup_security()
    if __name__ == "__main__":
        for number in range(int(sys.argv[1])):
            spend.delay(number, 1)
