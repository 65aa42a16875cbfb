"""The local model server: it stands where vLLM stands on the GPU node, with the same
OpenAI-compatible surface.
"""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from local.machine import ports
from local.node import model_file
from tlfif import names

# The engine's threads wait for one another at every step: on a core that others use too, each step
# waits for those.
THREADS = max(1, (os.cpu_count() or 2) - 1)


def main() -> None:
    """Serves until SIGTERM or SIGINT."""
    args = arguments()
    on_stop(lambda *_: sys.exit(0))
    try:
        ports.require_port(args.port, "the model server")
        path = model_file.prepare(report)
    except (ports.PortTakenError, model_file.ModelMissingError) as error:
        sys.exit(str(error))
    server = serve(str(path), args)
    # Not sys.exit() any more: the engine would wait for the generations that run, and a stopped
    # node does not.
    on_stop(lambda *_: os._exit(0))
    print(
        f"model server: {args.model_name} on {server.listening_address}, {args.slots} slots",
        flush=True,
    )
    while True:
        signal.pause()


def on_stop(handler: Callable[..., object]) -> None:
    """What SIGTERM and SIGINT do."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument(
        "--model-name",
        default=names.DEFAULT_SERVED_MODEL,
        help="the name requests use (default: %(default)s)",
    )
    parser.add_argument(
        "--context",
        type=int,
        default=names.DEFAULT_CONTEXT_TOKENS,
        help="tokens of each generation, prompt and answer (default: %(default)s)",
    )
    parser.add_argument(
        "--slots", type=int, default=8, help="generations at once (default: %(default)s)"
    )
    parser.add_argument(
        "--threads", type=int, default=THREADS, help="default: all cores but one (%(default)s)"
    )
    return parser.parse_args()


def report(share: float) -> None:
    """Says how far the one-time preparation is."""
    print(f"model server: preparing the model (once): {share:.0%}", flush=True)


def serve(path: str, args: argparse.Namespace) -> Any:
    """The running server; it listens on the loopback address alone, from its own threads, until the
    process ends.
    """
    # Imported here: 34 MB of native code that neither --help nor a taken port needs.
    engine: Any = importlib.import_module("xllamacpp")
    params = engine.CommonParams()
    params.model.path = path
    params.model_alias = {args.model_name}
    params.hostnames = [ports.LOOPBACK]
    params.port = args.port
    params.n_parallel = args.slots
    params.n_ctx = args.slots * args.context
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = args.threads
    # Threads that wait leave their core to the rest of the local cloud.
    params.cpuparams.poll = params.cpuparams_batch.poll = 0
    # What its authors recommend for SmolLM2; at the engine's 0.8 so small a model rambles. A
    # request may say otherwise.
    params.sampling.temp, params.sampling.top_p = 0.2, 0.9
    params.endpoint_metrics = True
    params.ui = False
    # It would load the model twice to find out what fits, and keep up to 8 GB of old prompts.
    params.fit_params = False
    params.cache_ram_mib = 0
    return engine.Server(params)


if __name__ == "__main__":
    main()
