"""The file by which a running local cloud tells the provider where its parts are."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from local.aws.moto import Moto
from local.deployment.backend import LocalBackend
from local.machine.valkey import Server


@dataclass(frozen=True, kw_only=True)
class CloudFile:
    """Where moto, the queue and the API's gateway are; `queue_password` is the operator's.

    `folder` has the state of what Pulumi deployed, `control` is the socket that takes orders.
    """

    stack: str
    region: str
    moto_url: str
    queue_host: str
    queue_port: int
    queue_password: str
    api_url: str
    folder: str = ""
    control: str = ""

    def write(self, path: Path) -> None:
        """Writes the file, for this user's eyes only."""
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads the file; raises FileNotFoundError."""
        return cls(**json.loads(path.read_text()))

    def backend(self) -> LocalBackend:
        """What makes resources in this cloud, and answers questions about it."""
        moto = Moto(self.moto_url, self.region)
        queue = Server(self.queue_host, self.queue_port, self.queue_password)
        return LocalBackend(self.stack, moto, queue, api_url=self.api_url or None)


def journal_of(file: Path) -> Path:
    """Where providers of the cloud that a file describes note what they make."""
    return file.with_name("made.jsonl")
