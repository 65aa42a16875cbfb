"""What developers and operators run by hand: make invoke, make postman, make user."""

import asyncio
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from support.users import signed_in

from gui.client import sign_in
from local.cloud import LocalCloud
from local.commands import postman
from local.lambda_.model import InvokeResult

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="session")]

ROOT = Path(__file__).resolve().parents[3]
EVENTS = ROOT / "docs/events"


async def run(
    *arguments: object, module: str = "local", **environment: str
) -> tuple[int | None, str, str]:
    """`python -m local …`: its exit code and what it wrote to stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *map(str, arguments)),
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(90):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, out.decode(), err.decode()


# --- make invoke


@pytest.mark.story("LAM-001")
async def test_one_function_is_called_with_an_event_file() -> None:
    code, out, err = await run("invoke", "router", EVENTS / "router-infer.json")
    assert (code, err) == (0, "")
    answer, _, log = out.partition("\nlog:\n")
    first, _, document = answer.partition("\n")
    assert re.fullmatch(r"router answered after [\d.]+ ms:", first)
    document = json.loads(document)
    assert (document["statusCode"], document["body"]["status"]) == (202, "starting")
    assert '"EC2Starts":1' in log


@pytest.mark.story("LAM-001")
@pytest.mark.parametrize(
    ("event", "says"),
    [("nothing.json", "No such file"), ("../../README.md", "is not JSON: Expecting value")],
)
async def test_an_event_that_cannot_be_read_is_one_clear_line(event: str, says: str) -> None:
    code, out, err = await run("invoke", "router", EVENTS / event)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert says in err


@pytest.mark.story("LAM-001")
async def test_an_unknown_function_is_named_with_those_there_are(cloud: LocalCloud) -> None:
    with pytest.raises(LookupError, match=r"no function 'rooter', only authorizer, .*router"):
        cloud.host("rooter")


Shape = dict[str, Any] | str


def shape(value: Any, path: str = "") -> Shape:
    """The names in an event, and the kinds of its values; headers are whatever a client sends."""
    if isinstance(value, dict) and path not in ("headers", "multiValueHeaders"):
        return {name: shape(each, name) for name, each in value.items()}
    return type(value).__name__


@pytest.mark.story("LAM-001")
async def test_the_events_are_what_the_gateway_sends(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    for source in ("router", "authorizer"):
        host = cloud.host(source)

        async def invoke(
            payload: bytes, of: str = source, real: Any = host.invoke, **options: Any
        ) -> InvokeResult:
            seen[of] = json.loads(payload)
            return await real(payload, **options)

        monkeypatch.setattr(host, "invoke", invoke)
    async with signed_in(cloud) as user:
        await user.status()
    assert shape(seen["router"]) == shape(json.loads((EVENTS / "router-status.json").read_text()))
    assert shape(seen["authorizer"]) == shape(json.loads((EVENTS / "authorizer.json").read_text()))


# --- make postman


@pytest.mark.story("API-002", "API-003")
@pytest.mark.skipif(
    not (shutil.which("npm") and shutil.which("node")), reason="newman needs node and npm"
)
async def test_the_postman_collection_passes(
    cloud: LocalCloud, capfd: pytest.CaptureFixture[str]
) -> None:
    newman = await asyncio.to_thread(postman.install)
    code = await postman.run_collection(cloud, newman)
    out = capfd.readouterr().out
    assert code == 0, out
    for status in (
        "401 Unauthorized",
        "403 Forbidden",
        "400 Bad Request",
        "429 Too Many Requests",
        "202 Accepted",
    ):
        assert f"[{status}," in out


@pytest.mark.story("API-002")
async def test_without_npm_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(postman.NewmanError, match=r"needs node and npm: https://nodejs.org"):
        postman.install()


# --- make user


@pytest_asyncio.fixture(loop_scope="session")
async def stack(cloud: LocalCloud, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """The stack's outputs in a file, and where AWS is."""
    file = tmp_path / "outputs.json"
    file.write_text(json.dumps(cloud.recording.outputs))
    key, secret = cloud.endpoint.operator
    return file, {
        "AWS_ENDPOINT_URL": cloud.endpoint.url,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
    }


@pytest.mark.story("API-002")
async def test_a_new_user_can_sign_in_and_call_the_api(
    cloud: LocalCloud, stack: tuple[Path, dict[str, str]]
) -> None:
    file, aws = stack
    code, out, err = await run("grace@example.com", "--outputs", file, module="tools.user", **aws)
    assert (code, err) == (0, "")
    (password,) = re.findall(r"shown only now: (\w{20})\n", out)
    client = cloud.output("user_pool_client_id")
    token = await asyncio.to_thread(
        sign_in, cloud.endpoint.url, client, "grace@example.com", password
    )
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"{cloud.api_url}/status", headers={"Authorization": token})
    assert answer.status_code == 200
    assert f"export TLFIF_API={cloud.api_url}\n" in out
    assert client in out
    code, out, err = await run("grace@example.com", "--outputs", file, module="tools.user", **aws)
    assert (code, out) == (1, "")
    assert err.startswith("tl-fif: grace@example.com exists already; ")


@pytest.mark.story("API-002")
@pytest.mark.parametrize(
    ("email", "outputs", "says"),
    [
        ("grace", {}, "'grace' is no e-mail address: make user EMAIL=you@example.com"),
        (
            "g@example.com",
            {"api_url": "x"},
            "stack dev has no output user_pool_id; is it deployed?",
        ),
        (
            "g@example.com",
            {"user_pool_id": "us-east-1_nobodys"},
            "there is no user pool us-east-1_nobodys",
        ),
    ],
)
async def test_what_keeps_a_user_from_being_made_is_one_clear_line(
    stack: tuple[Path, dict[str, str]], email: str, outputs: dict[str, str], says: str
) -> None:
    file, aws = stack
    known = json.loads(file.read_text())
    file.write_text(json.dumps({**known, **outputs} if "user_pool_id" in outputs else outputs))
    code, out, err = await run(email, "--outputs", file, module="tools.user", **aws)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert says in err
