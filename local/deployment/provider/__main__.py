"""`pulumi-resource-aws`: serves the provider to the engine that started it, until that goes.

The file that TLFIF_CLOUD names says where the local cloud's parts are.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from pulumi.runtime.proto import provider_pb2_grpc

from local.deployment.backend import LocalBackend
from local.deployment.provider.cloud import CloudFile, journal_of
from local.deployment.provider.journal import Journal
from local.deployment.provider.server import Provider
from local.machine.parent import until_orphaned
from local.machine.ports import LOOPBACK

THREADS = 32
GRACE_S = 30
MAX_MESSAGE = 400 * 1024 * 1024


def main() -> None:
    """Prints the port, as the engine expects, and serves."""
    file = Path(os.environ["TLFIF_CLOUD"])
    journal = Journal(journal_of(file))
    served = provider(CloudFile.read(file), journal)
    options = [("grpc.max_receive_message_length", MAX_MESSAGE)]
    calls = ThreadPoolExecutor(THREADS)
    server = grpc.server(calls, options=options)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(served, server)
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    server.start()
    print(port, flush=True)
    until_orphaned()
    # What is being made is made, and noted, though the one who asked for it is gone.
    server.stop(GRACE_S).wait()
    calls.shutdown(wait=True)
    journal.close()


def provider(cloud: CloudFile, journal: Journal) -> Provider:
    """The provider for one local cloud."""
    moto, queue = cloud.clients()
    questions = LocalBackend(cloud.stack, moto, queue)
    return Provider(cloud.resources(), questions, journal, cloud.region)


if __name__ == "__main__":
    main()
