"""AWS's APIs on this machine: a moto server as a child process, and clients for setting it up."""

import base64
import gzip
import importlib.util
import json
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import httpx
from botocore.config import Config

from local.machine.ports import LOOPBACK, free_port, listening
from local.machine.processes import Processes
from recording.model import ACCOUNT_ID

# moto takes any key from those who reach it; only the endpoint does, and what sets up the local
# cloud.
_KEY = "AKIALOCALSETUP"

# moto loads a service at its first call: these are loaded before the server listens.
_SERVICES = ("budgets", "cognitoidp", "ec2", "iam", "lambda", "logs", "s3", "sns", "ssm")
_ROOT = Path(__file__).parents[2]
_SERVER = Path(__file__).parent / "server" / "moto_server.py"
_CODE = "lambda-code"


class Moto:
    """A running moto server and boto3 clients that talk to it directly, past the endpoint and its
    records.
    """

    def __init__(self, url: str, region: str, code: Path | None = None):
        self.url = url
        self.region = region
        # Where the code of functions is that somebody uploaded, by its SHA-256.
        self.code = code
        # Whatever profile the caller has, and whether it is there.
        core = botocore.session.Session({"profile": (None, None, None, None)})
        self._session = boto3.Session(_KEY, "local", region_name=region, botocore_session=core)
        self._clients: dict[str, Any] = {}
        # boto3's clients may be shared between threads, but not made in several at once.
        self._making = threading.Lock()

    @property
    def host(self) -> str:
        """host:port."""
        return self.url.removeprefix("http://")

    def client(self, service: str) -> Any:
        """A boto3 client; the same one each time."""
        with self._making:
            if service not in self._clients:
                config = Config(
                    proxies={},
                    retries={"max_attempts": 1},
                    max_pool_connections=32,
                    # moto does not unpack what boto3 packs.
                    disable_request_compression=True,
                )
                self._clients[service] = self._session.client(
                    service, endpoint_url=self.url, config=config
                )
            return self._clients[service]

    def code_of(self, sha256: str) -> Path | None:
        """The zip of this digest, as Lambda's API tells it; None where nobody uploaded one."""
        if self.code is None:
            return None
        path = self.code / f"{base64.b64decode(sha256).hex()}.zip"
        return path.resolve() if path.exists() else None

    def reset(self) -> None:
        """Forgets everything that was created."""
        httpx.post(f"{self.url}/moto-api/reset", trust_env=False).raise_for_status()

    def publish_image(self, parameter: str) -> str:
        """Does what a bake leaves behind: an image of our own, its id in the SSM parameter; returns
        the id.
        """
        image = self.client("ec2").register_image(
            Name=f"tl-fif-gpu-node{parameter.replace('/', '-')}",
            Architecture="x86_64",
            RootDeviceName="/dev/sda1",
        )
        self.client("ssm").put_parameter(
            Name=parameter, Value=image["ImageId"], Type="String", Overwrite=True
        )
        return image["ImageId"]

    def user_data_and_role(self, instance: Mapping[str, Any]) -> tuple[str | None, str | None]:
        """An instance's user data in clear and the ARN of its role, for its DescribeInstances
        entry.
        """
        found = self.client("ec2").describe_instance_attribute(
            InstanceId=instance["InstanceId"], Attribute="userData"
        )
        encoded = found["UserData"].get("Value")
        text = base64.b64decode(encoded).decode() if encoded else None
        return text, self._role_of(instance)

    def _role_of(self, instance: Mapping[str, Any]) -> str | None:
        profile = instance.get("IamInstanceProfile", {}).get("Arn", "").rpartition("/")[2]
        if not profile:
            return None
        found = self.client("iam").get_instance_profile(InstanceProfileName=profile)
        roles = found["InstanceProfile"]["Roles"]
        return roles[0]["Arn"] if roles else None


def signing_key() -> dict[str, Any]:
    """The private key, as a JWK, with which moto signs every user pool's tokens: it ships it."""
    package = importlib.util.find_spec("moto")
    assert package is not None
    assert package.origin is not None
    packed = Path(package.origin).parent / "cognitoidp/resources/jwks-private.json.gz"
    return json.loads(gzip.decompress(packed.read_bytes()))


def _without_aws(environment: Mapping[str, str]) -> dict[str, str]:
    """Nothing of the caller's AWS is moto's business: its profile, its keys, its endpoints."""
    ours = {name: value for name, value in environment.items() if not name.startswith("AWS_")}
    return ours | {
        "AWS_ACCESS_KEY_ID": _KEY,
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


async def start_moto(procs: Processes, region: str) -> Moto:
    """Starts the server, ready in 2 to 3 s; raises ProcessError."""
    port = free_port()
    # Its own images are thousands, and reading them takes seconds; ours is published by the local
    # cloud.
    no_images = procs.log_dir / "moto-images.json"
    no_images.write_text("[]")
    code = procs.log_dir / _CODE
    argv = [sys.executable, "-P", str(_SERVER), str(code), region, ACCOUNT_ID, ",".join(_SERVICES)]
    argv += ["-H", LOOPBACK, "-p", str(port)]
    env = {
        **_without_aws(os.environ),
        "MOTO_AMIS_PATH": str(no_images),
        "PYTHONPATH": str(_ROOT),
    }
    await procs.start("moto", argv, env=env, ready=listening(port))
    return Moto(f"http://{LOOPBACK}:{port}", region, code=code)
