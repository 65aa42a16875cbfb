"""What vLLM's start does before it needs a GPU, done once: everything imported, and the model's
class looked at, which vLLM does in a process of its own and remembers in VLLM_CACHE_ROOT.

`warm.py FOLDER`, by vLLM's own Python: FOLDER has the model's config.json. Triton's kernels are
compiled at the first boot, by the GPU that they are for, into a folder that outlives a stop.
"""

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

# The server's process and the engine's.
MODULES = (
    "vllm.entrypoints.openai.api_server",
    "vllm.v1.engine.core",
    "vllm.v1.worker.gpu_worker",
    "vllm.v1.attention.backends.triton_attn",
    "vllm.model_executor.model_loader",
    "transformers",
)


def main() -> None:
    """Imports and looks; prints the seconds of each."""
    for name in MODULES:
        began = time.monotonic()
        importlib.import_module(name)
        print(f"{name}: {time.monotonic() - began:.1f} s", flush=True)
    architecture = json.loads((Path(sys.argv[1]) / "config.json").read_text())["architectures"][0]
    registry: Any = importlib.import_module("vllm.model_executor.models").ModelRegistry
    if architecture not in registry.models:
        sys.exit(f"config.json: architectures = {architecture!r}: vLLM has no such model")
    began = time.monotonic()
    registry.models[architecture].inspect_model_cls()
    print(f"{architecture}: {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
