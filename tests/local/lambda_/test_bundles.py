"""The functions' own bundles: complete for the host, and fit for Lambda."""

import platform
import zipfile
from pathlib import Path

import pytest

from components import bundle
from local.lambda_.host import FunctionHost
from local.lambda_.model import FunctionSpec
from local.machine.processes import Processes

pytestmark = pytest.mark.integration

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:"


@pytest.mark.story("LAM-001")
@pytest.mark.parametrize("function", bundle.functions())
async def test_each_functions_host_bundle_holds_all_that_it_imports(
    procs: Processes, function: str
):
    spec = FunctionSpec(
        name=function,
        arn=ARN + function,
        handler=f"{function}.handler.handler",
        zip_path=bundle.build(function, "host"),
        environment={},
        timeout_s=10,
        memory_mb=512,
        role_access_key=("a", "b"),
    )
    result = await FunctionHost(procs, spec).invoke(b"{}")
    assert b"ImportModuleError" not in result.payload, result.payload


@pytest.mark.story("LAM-001")
def test_a_lambda_bundle_is_for_arm64_and_python_3_12_and_reproducible(tmp_path: Path):
    bundles: list[Path] = []
    for name in ("a", "b/c"):
        folder = tmp_path / name / "functions/f"
        folder.mkdir(parents=True)
        (folder / "handler.py").write_text(
            "import _cffi_backend\ndef handler(event, context): return {'a', 'b'}\n"
        )
        (folder / "requirements.txt").write_text("cffi\n")
        (folder.parent / "constraints.txt").write_text(
            (bundle.ROOT / "functions/constraints.txt").read_text()
        )
        try:
            bundles.append(bundle.build("f", "lambda", tmp_path / name))
        except bundle.BundleError as error:
            if "python3.12" not in str(error):
                raise
            pytest.skip(str(error))
    assert bundles[0].read_bytes() == bundles[1].read_bytes()
    with zipfile.ZipFile(bundles[0]) as zipped:
        library = zipped.read("_cffi_backend.cpython-312-aarch64-linux-gnu.so")
        code = zipped.read("f/__pycache__/handler.cpython-312.pyc")
    # ELF's e_machine (183 = AArch64); the magic number of Python 3.12's bytecode.
    assert int.from_bytes(library[18:20], "little") == 183
    assert int.from_bytes(code[:2], "little") == 3531
    assert platform.machine() not in bundles[0].name
