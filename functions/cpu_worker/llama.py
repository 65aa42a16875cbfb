"""`python -m cpu_worker.llama`: the engine's own process, for as long as its parent lives.

A process, because the engine keeps Python's lock while it loads: in the function's own, heartbeat
and deadline would wait for it; and because what hangs can be ended.
"""

import importlib
import json
import os
import sys
import traceback
from typing import Any

from cpu_worker.engine import LOOPBACK

# How much of a prompt goes in at once: others' tokens wait for it.
BATCH_TOKENS = 512


def main() -> None:
    """Reads its orders on stdin, says on stdout what came of them, and ends with its parent."""
    # What the engine prints is no answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        # Before the orders are there: 100 MB of native code, while the weights are being read.
        engine = importlib.import_module("xllamacpp")
        line = sys.stdin.readline()
        if not line:
            return
        server = engine.Server(parameters(engine, **json.loads(line)))
        print(json.dumps({"url": server.listening_address}), file=answers, flush=True)
    except Exception as error:
        traceback.print_exc()
        print(json.dumps({"why": f"{type(error).__name__}: {error}"}), file=answers, flush=True)
        os._exit(1)
    sys.stdin.read()
    # Not sys.exit(): the engine would wait for the generations that run.
    os._exit(0)


def parameters(
    engine: Any,
    path: str,
    port: int,
    slots: int,
    threads: int,
    model: str,
    context_tokens: int,
) -> Any:
    """The engine's parameters for as many generations at once, each with a whole context."""
    params = engine.CommonParams()
    params.model.path = path
    params.model_alias = {model}
    params.hostnames = [LOOPBACK]
    params.port = port
    params.n_parallel = slots
    params.n_ctx = slots * context_tokens
    params.n_batch = params.n_ubatch = BATCH_TOKENS
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    # Threads that wait use no processor: what is idle is not paid for, and beats go out.
    params.cpuparams.poll = params.cpuparams_batch.poll = 0
    # A model as small as this rambles at the engine's 0.8. A request may say otherwise.
    params.sampling.temp, params.sampling.top_p = 0.2, 0.9
    params.ui = False
    # It would load the model twice to find out what fits, and keep up to 8 GB of old prompts.
    params.fit_params = False
    params.cache_ram_mib = 0
    params.verbosity = 1
    return params


if __name__ == "__main__":
    main()
