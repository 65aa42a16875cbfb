"""What a cold start imports: CPU time and modules of router and authorizer, from their bundles as
they are built.

Beside them the same code with everything imported at once, and with ordinary `.pyc` that are stale
(as in a zip whose entries are stamped anew), in the same run.

    python -m bench.cold_start [repeats]
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from bench.arguments import how_many
from components import bundle
from local.lambda_.host import runtime_dir

MEASURE = """
import json, resource, sys
for name in {eager!r}:
    __import__(name)
__import__({module!r}, fromlist=["handler"])
used = resource.getrusage(resource.RUSAGE_SELF)
ms = (used.ru_utime + used.ru_stime) * 1000
print(json.dumps({{"ms": ms, "modules": len(sys.modules), "boto3": "boto3" in sys.modules}}))
"""
EMPTY = """
import resource
used = resource.getrusage(resource.RUSAGE_SELF)
print((used.ru_utime + used.ru_stime) * 1000)
"""


def run(folder: Path, code: str) -> str:
    """Runs code as the function's worker would: only the bundle and the runtime on the path."""
    env = {
        "PYTHONPATH": f"{folder}:{runtime_dir()}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": "/usr/bin:/bin",
    }
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=folder, env=env, capture_output=True, check=True
    )
    return done.stdout.decode()


def measure(
    folder: Path, module: str, repeats: int, eager: tuple[str, ...] = ()
) -> tuple[float, int, bool]:
    """Median CPU ms of the import beyond an empty interpreter's, modules loaded, whether boto3 is
    among them.
    """
    empty = statistics.median(float(run(folder, EMPTY)) for _ in range(repeats))
    found = [
        json.loads(run(folder, MEASURE.format(module=module, eager=eager))) for _ in range(repeats)
    ]
    return (
        statistics.median(each["ms"] for each in found) - empty,
        found[0]["modules"],
        found[0]["boto3"],
    )


def main(repeats: int) -> None:
    print(f"{'':44} {'CPU ms':>8} {'modules':>8}  boto3")
    with tempfile.TemporaryDirectory() as scratch:
        for function in ("router", "authorizer"):
            folder, stale = Path(scratch, function), Path(scratch, f"{function}-stale")
            with zipfile.ZipFile(bundle.build(function, "host")) as archive:
                archive.extractall(folder)
            shutil.copytree(folder, stale)
            for cache in list(stale.rglob("__pycache__")):
                shutil.rmtree(cache)
            module = f"{function}.handler"
            cases = {
                "as built": measure(folder, module, repeats),
                "without lazy imports (boto3 and two clients)": measure(
                    folder,
                    module,
                    repeats,
                    ("boto3", "botocore.session", "botocore.config", "botocore.exceptions"),
                ),
                "with stale .pyc": measure(stale, module, repeats),
            }
            for name, (ms, modules, boto3) in cases.items():
                print(
                    f"{function + ': ' + name:44} {ms:8.0f} {modules:8}  {'yes' if boto3 else 'no'}"
                )


if __name__ == "__main__":
    main(how_many(__doc__, "repeats", 5))
