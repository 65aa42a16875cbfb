"""The local model hub answers as the real one does, and its file reaches a bucket by the real
function.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from components.settings import ModelSettings
from local.machine.hub import local_model_config, model_hub, sha256_of

pytestmark = [pytest.mark.integration, pytest.mark.story("EC2-003")]

CONTENT = bytes(range(256)) * 5_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a-model.F16.gguf"
    path.write_bytes(CONTENT)
    return path


@pytest_asyncio.fixture
async def hub(file: Path) -> AsyncIterator[str]:
    async with model_hub(file) as url:
        yield url


@pytest_asyncio.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(follow_redirects=True) as client:
        yield client


def url_of(file: Path, hub: str) -> str:
    lane = ModelSettings.model_validate(local_model_config(file, hub)).lane
    assert lane is not None
    return lane.url


async def test_the_file_is_elsewhere_and_the_hub_says_what_it_is(
    file: Path, hub: str, client: httpx.AsyncClient
) -> None:
    answer = await client.head(url_of(file, hub), follow_redirects=False)
    assert answer.status_code == 302
    assert answer.headers["x-linked-etag"] == f'"{sha256_of(file)}"'
    assert answer.headers["x-linked-size"] == str(len(CONTENT))
    there = await client.head(url_of(file, hub))
    assert (there.status_code, there.headers["content-length"]) == (200, str(len(CONTENT)))
    assert there.content == b""


@pytest.mark.parametrize(
    ("range_", "status", "content"),
    [
        (None, 200, CONTENT),
        ("bytes=0-0", 206, CONTENT[:1]),
        ("bytes=5-1000", 206, CONTENT[5:1001]),
        ("bytes=1279990-", 206, CONTENT[1279990:]),
        ("bytes=1279990-9999999", 206, CONTENT[1279990:]),
        ("bytes=9999999-", 416, b""),
    ],
)
async def test_ranges_are_served(
    range_: str | None, status: int, content: bytes, file: Path, hub: str, client: httpx.AsyncClient
) -> None:
    headers = {"range": range_} if range_ else {}
    answer = await client.get(url_of(file, hub), headers=headers)
    assert (answer.status_code, answer.content) == (status, content)
    if status == 206:
        assert answer.headers["content-range"].endswith(f"/{len(CONTENT)}")


@pytest.mark.parametrize(
    "path", ["/", "/o/n/resolve/main/a.gguf", "/o/n/resolve/" + "0" * 40 + "/a.gguf", "/stored/x"]
)
async def test_nothing_else_is_there(path: str, hub: str, client: httpx.AsyncClient) -> None:
    assert (await client.get(hub + path)).status_code == 404


async def test_another_revision_or_name_is_not_there(
    file: Path, hub: str, client: httpx.AsyncClient
) -> None:
    good = url_of(file, hub)
    for bad in (good.replace("a-model", "b-model"), good.replace(sha256_of(file)[:40], "0" * 40)):
        assert (await client.get(bad)).status_code == 404
    assert (await client.post(good)).status_code == 405


def test_the_hash_is_taken_once_and_again_when_the_file_changes(file: Path) -> None:
    first = sha256_of(file)
    kept = next(each for each in file.parent.iterdir() if each != file)
    kept.write_text(kept.read_text().replace(first, "a" * 64))
    assert sha256_of(file) == "a" * 64, "taken from beside the file"
    file.write_bytes(CONTENT + b"more")
    os.utime(file, (1, 1))
    assert sha256_of(file) not in (first, "a" * 64)
    kept.write_text("no json")
    assert len(sha256_of(file)) == 64
