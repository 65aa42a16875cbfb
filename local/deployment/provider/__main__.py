"""`pulumi-resource-aws`: serves the provider to the engine that started it, until that goes.

The file that TLFIF_CLOUD names says where the local cloud's parts are.
"""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from pulumi.runtime.proto import provider_pb2_grpc

from local.aws.moto import Moto
from local.deployment.backend import LocalBackend
from local.deployment.provider.cloud import CloudFile
from local.deployment.provider.server import Provider
from local.deployment.resources import Resources
from local.machine.ports import LOOPBACK
from local.machine.valkey import Server

THREADS = 32
MAX_MESSAGE = 400 * 1024 * 1024


def provider(cloud: CloudFile) -> Provider:
    """The provider for one local cloud."""
    moto = Moto(cloud.moto_url, cloud.region)
    queue = Server(cloud.queue_host, cloud.queue_port, cloud.queue_password)
    resources = Resources(moto, queue, api_url=cloud.api_url or None)
    return Provider(resources, LocalBackend(cloud.stack, moto, queue), cloud.region)


def main() -> None:
    """Prints the port, as the engine expects, and serves."""
    server = grpc.server(
        ThreadPoolExecutor(THREADS), options=[("grpc.max_receive_message_length", MAX_MESSAGE)]
    )
    served = provider(CloudFile.read(Path(os.environ["TLFIF_CLOUD"])))
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(served, server)
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    server.start()
    print(port, flush=True)
    stop = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    stop.wait()


if __name__ == "__main__":
    main()
