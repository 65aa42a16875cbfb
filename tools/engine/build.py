"""Builds Pulumi's CLI, engine and all, from its Go module: for machines with Go and without Pulumi.

`python3 tools/engine/build.py` builds once per version of go.mod and go.sum, and lets
.cache/engine/current lead there; where there is a `pulumi` on PATH, or no Go, it says so and builds
nothing. Plain Python, because nothing of ours is needed.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent.parent / ".cache" / "engine"
PACKAGE = "github.com/pulumi/pulumi/pkg/v3"
SDK = "github.com/pulumi/pulumi/sdk/v3"
# What runs a Python program, for the stand-in of the language host that is no Go module.
RUNNER = "pulumi-language-python-exec"


def _folder() -> Path:
    """The folder that has, or would have, the CLI of the pinned version."""
    pins = b"".join((HERE / name).read_bytes() for name in ("go.mod", "go.sum"))
    return CACHE / hashlib.sha256(pins).hexdigest()[:16]


def build(go: str, to: Path) -> None:
    """Builds into a scratch folder that appears at `to` whole; raises CalledProcessError."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix=".build-") as scratch:
        folder = Path(scratch) / "bin"
        version = _run(go, "list", "-m", "-f", "{{.Version}}", PACKAGE)
        set_version = f"-s -w -X {SDK}/go/common/version.Version={version}"
        _run(
            go, "build", "-trimpath", "-tags", "osusergo grpcnotrace", "-ldflags", set_version,
            "-o", str(folder / "pulumi"), f"{PACKAGE}/cmd/pulumi",
        )  # fmt: skip
        module = Path(_run(go, "list", "-m", "-f", "{{.Dir}}", SDK))
        shutil.copyfile(module / "python" / "cmd" / RUNNER, folder / RUNNER)
        if not to.exists():
            folder.rename(to)


def _run(*command: str) -> str:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"}
    done = subprocess.run(
        command, cwd=HERE, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.strip()


def main() -> int:
    """0 also where nothing can be built: what needs the CLI says so itself."""
    if found := shutil.which("pulumi"):
        _say(f"pulumi is on PATH ({found}); nothing to build")
        return 0
    folder, go = _folder(), shutil.which("go")
    if not folder.exists():
        if go is None:
            _say("there is neither pulumi nor Go: what needs Pulumi's engine is skipped")
            return 0
        _say("building Pulumi's CLI from its Go module (once; a few minutes)")
        began = time.monotonic()
        try:
            build(go, folder)
        except subprocess.CalledProcessError as error:
            _say(f"{' '.join(error.cmd[1:3])} failed; is the module proxy reachable?")
            return 1
        _say(f"built in {time.monotonic() - began:.0f} s")
    _point(CACHE / "current", folder)
    return 0


def _point(link: Path, folder: Path) -> None:
    """Makes `link` lead to the folder, whatever it led to before."""
    scratch = link.with_name(f".current-{os.getpid()}")
    scratch.symlink_to(folder.name)
    scratch.replace(link)


def _say(text: str) -> None:
    print(f"engine: {text}", file=sys.stderr)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    sys.exit(main())
