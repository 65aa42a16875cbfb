"""`pulumi-resource-aws`: serves the provider to the engine that started it, until that goes.

The file that TLFIF_CLOUD names says where the local cloud's parts are.
"""

import contextlib
import os
from functools import partial
from pathlib import Path

from pulumi.runtime.proto import provider_pb2_grpc

from local.deployment.provider.cloud import CloudFile, journal_of
from local.deployment.provider.journal import Journal
from local.deployment.provider.server import Provider
from local.machine.plugin import serve


def main() -> None:
    """Serves; what is made is noted in the journal, which nobody else has meanwhile."""
    file = Path(os.environ["TLFIF_CLOUD"])
    with contextlib.closing(Journal(journal_of(file))) as journal:
        provider = Provider(CloudFile.read(file).backend(), journal)
        serve(partial(provider_pb2_grpc.add_ResourceProviderServicer_to_server, provider))


if __name__ == "__main__":
    main()
