#!/opt/engine/bin/python
"""Stands for vLLM where there is no GPU: `vllm serve`, with the node's arguments and its weights.

Put in vLLM's place in the scratch root; llama.cpp's server answers, with the same API.
"""

import argparse
import importlib
import signal
from typing import Any


def main() -> None:
    """Serves until it is ended; arguments that only a GPU has use for are ignored."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("model")
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--max-model-len", type=int, required=True)
    args, _ = parser.parse_known_args()
    engine: Any = importlib.import_module("xllamacpp")
    params = engine.CommonParams()
    params.model.path = args.model
    params.model_alias = {args.served_model_name}
    params.hostnames, params.port = [args.host], args.port
    params.n_parallel, params.n_ctx = 2, 2 * args.max_model_len
    # One that waits for another by spinning would wait long on a machine that is busy.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.cpuparams.poll = params.cpuparams_batch.poll = 0
    params.ui = params.fit_params = False
    params.cache_ram_mib = 0
    server = engine.Server(params)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    del server


if __name__ == "__main__":
    main()
