"""`python -m gui.bridge` and `make bridge`: what they refuse, where the key is, how they end."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from support.bridges import request
from support.calls import eventually
from support.scripted_stack import CLIENT_ID, PASSWORD, USER, ScriptedStack

from gui.bridge import command, keys
from gui.client import UnreachableError, sign_in
from local.machine.serving import serving
from recording.model import ROOT

GOOD = {
    "--api": "https://abc.execute-api.eu-west-1.amazonaws.com/v1",
    "--client-id": "c",
    "--region": "eu-west-1",
    "--user": USER,
    "--port": "0",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody's settings."""
    for name in ("TLFIF_API", "TLFIF_USER", "TLFIF_CLIENT_ID", "AWS_ENDPOINT_URL", keys.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("TLFIF_PASSWORD", PASSWORD)


# --- what is refused


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"--api": ""}, "--api is missing: "),
        ({"--user": ""}, "--user is missing: "),
        ({"--api": "ftp://x"}, "--api 'ftp://x' has an unknown scheme; "),
        ({"--api": "http://[x"}, "--api 'http://[x' is none: "),
        ({"--api": "http://example.com/v1"}, "--api http://example.com/v1 is not encrypted"),
        ({"--cognito": "http://10.0.0.1"}, "--cognito http://10.0.0.1 is not encrypted"),
        ({"--cognito": "https://x_é-.com"}, "--cognito 'https://x_é-.com' is none: "),
        (
            {"--cognito": "http://u:hunter2@127.0.0.1:1/"},
            "--cognito 'http://…@127.0.0.1:1/' has a user or password",
        ),
        ({"--port": "70000"}, "--port 70000 is none: from 0 to 65535"),
        ({"--allow-host": "box:8787"}, "--allow-host box:8787 is no name alone: box, which"),
        ({"--host": "0.0.0.0"}, "--host 0.0.0.0 can be reached by others"),
        ({"--host": "example.com"}, "--host example.com can be reached by others"),
        ({"--api": "http://127.0.0.1:1/v1", "--cognito": "http://127.0.0.1:1"}, "Cognito at http"),
    ],
)
def test_what_cannot_be_is_one_line(
    capsys: pytest.CaptureFixture[str], changed: dict[str, str], says: str
) -> None:
    argv = [part for pair in {**GOOD, **changed}.items() for part in pair]
    assert command.main(argv) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"tl-fif: {says}")
    assert PASSWORD not in err


def test_an_environment_that_cannot_be_used_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    assert command.main([part for pair in GOOD.items() for part in pair]) == 1
    err = capsys.readouterr().err
    assert err.startswith("tl-fif: the environment's proxy or certificates cannot be used: ")
    assert err.count("\n") == 1


def test_an_origin_is_as_browsers_name_it() -> None:
    argv = {**GOOD, "--allow-origin": "http://localhost:3000/", "--allow-host": "::1"}
    given = command._parser().parse_args([part for pair in argv.items() for part in pair])
    command._check(given)
    assert given.allow_origin == ["http://localhost:3000"]


def test_no_secret_for_loopback_goes_through_a_proxy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        url = "http://127.0.0.1:1"
        argv = {**GOOD, "--api": f"{url}/v1", "--cognito": url}
        assert command.main([part for pair in argv.items() for part in pair]) == 1
        assert "(ConnectError)" in capsys.readouterr().err
        with pytest.raises(UnreachableError):
            sign_in(url, "c", USER, PASSWORD)
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_a_port_that_is_taken_is_said_before_anybody_signs_in(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        argv = [part for pair in {**GOOD, "--port": port}.items() for part in pair]
        assert command.main(argv) == 1
    assert f"--port {port}: Address already in use; choose another" in capsys.readouterr().err


# --- the key


def test_a_key_is_made_once_and_for_nobody_else(tmp_path: Path) -> None:
    key = keys.key(os.environ)
    file = keys.path(os.environ)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert len(key) > 40
    assert keys.key(os.environ) == key == file.read_text().strip()
    assert [each.name for each in file.parent.iterdir()] == ["bridge.key"]
    file.chmod(0o640)
    with pytest.raises(keys.KeyFileError, match="may be read by others"):
        keys.key(os.environ)


@pytest.mark.parametrize("given", ["short", "with a space in it", "nöt-ascii-at-all-here"])
def test_a_key_that_no_header_carries_or_anybody_guesses_is_refused(given: str) -> None:
    with pytest.raises(keys.KeyFileError, match=rf"\${keys.VARIABLE} is none"):
        keys.key({keys.VARIABLE: given})
    assert keys.key({keys.VARIABLE: "a-key-of-ones-own"}) == "a-key-of-ones-own"


# --- from the first line to the last


@contextlib.asynccontextmanager
async def bridge(outputs: Path, cognito: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`make bridge`, without make."""
    argv = ["-m", "tools.fronts.bridge", "--outputs", str(outputs), "--user", USER, "--port", "0"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *argv, "--cognito", cognito),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_it_serves_until_a_signal_and_cancels_what_runs(
    tmp_path: Path, number: signal.Signals
) -> None:
    stack = ScriptedStack(script=[None])
    async with serving(stack.app, socket.create_server(("127.0.0.1", 0))) as url:
        outputs = tmp_path / "outputs.json"
        told = {"api_url": f"{url}/v1", "user_pool_id": "eu-west-1_x"}
        outputs.write_text(json.dumps({**told, "user_pool_client_id": CLIENT_ID}))
        async with bridge(outputs, f"{url}/cognito") as process:
            assert process.stdout is not None
            async with asyncio.timeout(60):
                first = await process.stdout.readuntil(b"Ctrl-C")
            (base_url,) = re.findall(r"OPENAI_BASE_URL=(\S+)", first.decode())
            headers = {"Authorization": f"Bearer {keys.key(os.environ)}"}
            async with httpx.AsyncClient(
                base_url=base_url, headers=headers, timeout=60, trust_env=False
            ) as http:
                asked = asyncio.create_task(
                    http.post("/chat/completions", json=request(stream=True))
                )

                async def waits() -> bool:
                    return bool(stack.looks)

                await eventually(waits)
                process.send_signal(number)
                assert '"code":"stopped"' in (await asked).text
                async with asyncio.timeout(60):
                    out, err = await process.communicate()
    assert process.returncode == 0
    assert stack.cancelled == set(stack.jobs.values())
    assert b"nothing of its runs any more" in out
    assert err == b""
    for secret in (PASSWORD, *stack.tokens, *stack.refresh_tokens):
        assert secret.encode() not in first + out
