"""The tear-down's last loop, copied from the page: the state's bucket has a version of each step of
each `pulumi up`, which are thousands.
"""

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from support import pages
from support.calls import REGION

from local.aws.endpoint import Endpoint
from local.aws.moto import Moto
from tools.aws_cli import NoCliError, prepare

BUCKET = "tl-fif-state-000000000000"
KEYS, VERSIONS = 375, 3


@pytest.fixture(scope="module")
def cli() -> str:
    """The folder that has AWS's CLI."""
    try:
        return str(prepare())
    except NoCliError as error:
        pytest.skip(str(error))


@pytest.mark.integration
@pytest.mark.story("CI-004")
async def test_a_state_of_fifteen_hundred_versions_goes(
    moto: Moto, endpoint: Endpoint, cli: str
) -> None:
    await asyncio.to_thread(_fill, moto)
    code, said = await _bash(_loop(), endpoint, cli)
    assert (code, said) == (0, f"remove_bucket: {BUCKET}\n")
    assert moto.client("s3").list_buckets()["Buckets"] == []


@pytest.mark.integration
async def test_a_refusal_ends_it(moto: Moto, endpoint: Endpoint, cli: str) -> None:
    s3 = moto.client("s3")
    await asyncio.to_thread(s3.create_bucket, Bucket=BUCKET)
    await asyncio.to_thread(s3.put_object, Bucket=BUCKET, Key="kept", Body=b"")
    refused = (
        'aws() { [ $2 != delete-objects ] || { echo \'[{"Code": "AccessDenied"}]\'; return; }; '
    )
    code, said = await _bash(f'{refused} command aws "$@"; }}\n{_loop()}', endpoint, cli)
    assert code
    assert "BucketNotEmpty" in said


def _loop() -> str:
    *_, block = pages.section("procedures.md", "Tear down")
    return block.text[block.text.index("while versions") :]


def _fill(moto: Moto) -> None:
    """Names as long as Pulumi's, several versions of each, and a marker of its deletion."""
    s3 = moto.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})

    def version(number: int) -> None:
        key = f".pulumi/history/tl-fif/dev/dev-{number:019d}.checkpoint.json"
        for _ in range(VERSIONS):
            s3.put_object(Bucket=BUCKET, Key=key, Body=b"{}")
        s3.delete_object(Bucket=BUCKET, Key=key)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(version, range(KEYS)))


async def _bash(script: str, endpoint: Endpoint, path: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        f"set -eo pipefail\n{script}",
        env={
            "PATH": f"{path}:{os.environ['PATH']}",
            "STATE": BUCKET,
            "AWS_ENDPOINT_URL": endpoint.url,
            "AWS_ACCESS_KEY_ID": endpoint.operator.access_key,
            "AWS_SECRET_ACCESS_KEY": endpoint.operator.secret,
            "AWS_DEFAULT_REGION": REGION,
            "NO_PROXY": "*",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(90):
            output, _ = await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode or 0, output.decode()
