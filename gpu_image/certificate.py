"""Becomes a command, nginx on the node, once the node has a certificate of its own.

`certificate.py FILE COMMAND...`: FILE gets a self-signed certificate and its key, made here, so
that no image and no other node has them; kept until it is about to end or the node has another
name. Standard library and `openssl` only.
"""

import json
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

# Longer than a node's image is in use; well before the end a boot makes a new one.
DAYS = 397
RENEW_BEFORE_S = 30 * 86_400
METADATA = "http://169.254.169.254"
METADATA_TIMEOUT_S = 1.0
# Through Session Manager's port forwarding the node is the caller's own localhost.
LOCALHOST = "localhost"
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
REQUEST = """\
[req]
prompt = no
distinguished_name = name
x509_extensions = extensions
[name]
CN = tl-fif node
[extensions]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = {names}
"""


class CertificateError(RuntimeError):
    """No certificate could be made; the message says why."""


def main(arguments: list[str]) -> None:
    """Ensures the certificate, then becomes the command; ends with 1 and a line if it cannot."""
    if len(arguments) < 2:
        sys.exit("usage: certificate.py FILE COMMAND...")
    try:
        made = ensure(Path(arguments[0]), node_names(os.environ))
    except (CertificateError, OSError) as error:
        sys.exit(f"certificate.py: {error}")
    log = {"event": "certificate", "file": arguments[0], "made": made}
    print(json.dumps(log), flush=True)
    os.execvp(arguments[1], arguments[1:])


def ensure(path: Path, names: frozenset[str], now: float | None = None) -> bool:
    """Makes the certificate for these names unless `path` has one; whether it did.

    `now` is in s since 1970. Raises CertificateError and OSError.
    """
    if fits(path, names, time.time() if now is None else now):
        return False
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(path, make(names))
    return True


def fits(path: Path, names: frozenset[str], now: float) -> bool:
    """Whether the file has a certificate for these names that lasts, with its key, and is its
    owner's alone.
    """
    try:
        if path.stat().st_mode & 0o077:
            return False
        # A key that is not the certificate's is refused.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path)
        about = ["openssl", "x509", "-noout", "-enddate", "-ext", "subjectAltName", "-in", path]
        said = subprocess.run(about, capture_output=True, text=True, check=True, timeout=30).stdout
        [ends] = re.findall("notAfter=(.*)", said)
        lasts = ssl.cert_time_to_seconds(ends) - now > RENEW_BEFORE_S
    except (OSError, ValueError, subprocess.SubprocessError):
        return False
    # Of one boot EC2 may not say the names: the certificate that has them stays.
    return lasts and names <= set(re.findall(r"DNS:([^,\s]+)", said))


def make(names: frozenset[str]) -> bytes:
    """A key on P-256 and its certificate for these names, as PEM. Raises CertificateError."""
    wanted = ", ".join(f"DNS:{name}" for name in sorted(names))
    command = ["openssl", "req", "-x509", "-nodes", "-days", str(DAYS), "-config", "/dev/stdin"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", "-"]
    try:
        done = subprocess.run(
            command, input=REQUEST.format(names=wanted).encode(), capture_output=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CertificateError(f"openssl: {error}") from error
    if done.returncode:
        raise CertificateError(f"openssl: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _write(path: Path, pem: bytes) -> None:
    """Key and certificate in one file, which is there as a whole or not at all; its owner's."""
    # mkstemp's files are 0600 from the beginning.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def node_names(environment: Mapping[str, str]) -> frozenset[str]:
    """What the node is called: by EC2, which may not answer, by itself, and through a tunnel."""
    endpoint = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", METADATA).rstrip("/")
    tries = int(environment.get("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "3"))
    found = {LOCALHOST, socket.gethostname(), *_from_metadata(endpoint, tries)}
    return frozenset(name for name in found if _HOST.fullmatch(name))


def _from_metadata(endpoint: str, tries: int) -> list[str]:
    """The private DNS name and the instance's id; nothing when EC2 does not say."""
    # No proxy stands between a node and its metadata.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(path: str, method: str = "GET", **headers: str) -> str:
        named = {f"X-aws-ec2-metadata-{key.replace('_', '-')}": headers[key] for key in headers}
        request = urllib.request.Request(f"{endpoint}/latest/{path}", headers=named, method=method)
        with opener.open(request, timeout=METADATA_TIMEOUT_S) as answer:
            return str(answer.read(256).decode("ascii", "replace"))

    for left in reversed(range(tries)):
        try:
            token = ask("api/token", "PUT", token_ttl_seconds="60")
            paths = ("local-hostname", "instance-id")
            return [ask(f"meta-data/{path}", token=token) for path in paths]
        except OSError:
            time.sleep(METADATA_TIMEOUT_S / 2 if left else 0)
    return []


if __name__ == "__main__":
    main(sys.argv[1:])
