"""The node's certificate: made at the first boot, kept, renewed in time, and never half there."""

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import python310
from support.calls import ClientOf

import certificate
from local.aws.endpoint import Endpoint

NAMES = frozenset({"localhost", "ip-10-20-2-17.ec2.internal", "i-0123456789abcdef0"})
DAY_S = 86_400
SCRIPT = certificate.__file__

pytestmark = [
    pytest.mark.story("EC2-005"),
    pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl"),
]


@pytest.fixture(scope="module")
def pem() -> bytes:
    return certificate.make(NAMES)


@pytest.fixture
def made(tmp_path: Path, pem: bytes) -> Path:
    """A node's certificate of an earlier boot."""
    path = tmp_path / "node.pem"
    path.write_bytes(pem)
    path.chmod(0o600)
    return path


def test_the_first_boot_makes_one_and_the_second_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "tls" / "node.pem"
    assert certificate.ensure(path, NAMES)
    first = path.read_bytes()
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert not certificate.ensure(path, NAMES)
    assert path.read_bytes() == first
    assert [each.name for each in path.parent.iterdir()] == ["node.pem"], "and nothing beside it"


def test_it_is_a_servers_on_a_curve_and_signs_nothing_else(made: Path) -> None:
    about = ["openssl", "x509", "-noout", "-text", "-in", made]
    said = subprocess.run(about, capture_output=True, text=True, check=True).stdout
    assert "ASN1 OID: prime256v1" in said
    assert "CA:FALSE" in said
    assert "TLS Web Server Authentication" in said
    assert set(re.findall(r"DNS:([^,\s]+)", said)) == NAMES


def test_no_two_nodes_have_the_same_key(pem: bytes) -> None:
    key = pem.partition(b"-----END PRIVATE KEY-----")[0]
    assert key.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert key != certificate.make(NAMES).partition(b"-----END PRIVATE KEY-----")[0]


def test_it_is_made_anew_well_before_it_ends(made: Path) -> None:
    now = time.time()
    last_good = now + (certificate.DAYS - 31) * DAY_S
    assert certificate.fits(made, NAMES, last_good)
    assert not certificate.fits(made, NAMES, last_good + 2 * DAY_S)
    old = made.read_bytes()
    assert certificate.ensure(made, NAMES, last_good + 2 * DAY_S)
    assert made.read_bytes() != old


def test_it_is_made_anew_for_another_name(made: Path) -> None:
    other = NAMES - {"i-0123456789abcdef0"} | {"i-0fedcba9876543210"}
    assert certificate.ensure(made, other)
    assert certificate.fits(made, other, time.time())
    assert not certificate.ensure(made, frozenset({"localhost"})), "EC2 did not say the others"


def test_what_is_broken_or_open_to_others_is_made_anew(made: Path, pem: bytes) -> None:
    key, end, rest = pem.partition(b"-----END PRIVATE KEY-----\n")
    foreign = certificate.make(NAMES).partition(b"-----END PRIVATE KEY-----\n")[2]
    for content in (b"", pem[:-100], key + end, rest, key + end + foreign, b"\xff" * 100):
        made.write_bytes(content)
        assert certificate.ensure(made, NAMES), content[:40]
        assert certificate.fits(made, NAMES, time.time())
    made.chmod(0o640)
    assert certificate.ensure(made, NAMES)
    assert made.stat().st_mode & 0o777 == 0o600


def test_a_failure_leaves_what_there_was(
    made: Path, pem: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            certificate.ensure(made, NAMES | {"b"})
    assert made.read_bytes() == pem
    assert [each.name for each in made.parent.iterdir()] == ["node.pem"]
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(certificate.CertificateError, match="openssl: "):
        certificate.ensure(made, NAMES)


@pytest.mark.integration
async def test_ec2_says_what_the_node_is_called(endpoint: Endpoint, client_of: ClientOf) -> None:
    ec2 = client_of("ec2")
    run = {"ImageId": "ami-0123456789abcdef0", "MinCount": 1, "MaxCount": 1}
    made = await asyncio.to_thread(lambda: ec2.run_instances(**run))
    [instance] = made["Instances"]
    said = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint.imds_url(instance["InstanceId"])}
    names = await asyncio.to_thread(certificate.node_names, said)
    hosts = {"localhost", socket.gethostname()}
    assert names == hosts | {instance["InstanceId"], instance["PrivateDnsName"]}


def test_the_nodes_own_python_becomes_the_command(tmp_path: Path) -> None:
    """Under 3.10 without its packages, and with a metadata service that is away."""
    base = python310.bare()
    if base is None:
        pytest.skip("no Python 3.10 here, as on the node")
    path = tmp_path / "node.pem"
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9",
        "AWS_METADATA_SERVICE_NUM_ATTEMPTS": "1",
    }
    argv = [base, "-I", "-S", SCRIPT, str(path), "echo", "became", "this"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env=environment)
    line, after = done.stdout.splitlines()
    assert json.loads(line) == {"event": "certificate", "file": str(path), "made": True}
    assert after == "became this"
    assert certificate.fits(path, certificate.node_names(environment), time.time())


def test_without_openssl_it_ends_with_a_line(tmp_path: Path) -> None:
    environment = {
        "PATH": "/nowhere",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9",
        "AWS_METADATA_SERVICE_NUM_ATTEMPTS": "1",
    }
    argv = [sys.executable, "-I", "-S", SCRIPT, str(tmp_path / "node.pem"), "true"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert re.fullmatch(r"certificate.py: openssl: .*No such file.*\n", done.stderr)
