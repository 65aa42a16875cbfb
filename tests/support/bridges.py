"""A bridge before a scripted stack, on a port of its own."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from support.scripted_stack import CLIENT_ID, COGNITO, PASSWORD, URL, USER, ScriptedStack

from gui.bridge.app import Access, Bridge
from gui.bridge.stack.api import Api
from gui.bridge.stack.cognito import SignIn
from local.machine.serving import serving

KEY = "sk-a-key-of-the-tests"


@dataclass
class Running:
    """A bridge that serves at `url`; `said` is what it wrote, `http` a client with its key."""

    bridge: Bridge
    url: str
    said: list[str]
    http: httpx.AsyncClient

    async def chat(self, content: Any = "Hello", **fields: Any) -> httpx.Response:
        """One request with one message."""
        return await self.http.post("/chat/completions", json=request(content, **fields))


def request(content: Any = "Hello", **fields: Any) -> dict[str, Any]:
    """The body of a request with one message."""
    return {"model": "tl-fif", "messages": [{"role": "user", "content": content}], **fields}


@asynccontextmanager
async def bridging(stack: ScriptedStack) -> AsyncIterator[Running]:
    """A running one."""
    said: list[str] = []
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    async with stack.client() as upstream:
        api = Api(upstream, URL, SignIn(upstream, COGNITO, CLIENT_ID, USER, PASSWORD))
        bridge = Bridge(api, Access(key=KEY), said.append)
        headers, limits = {"Authorization": f"Bearer {KEY}"}, httpx.Limits(max_connections=None)
        async with (
            serving(bridge.app, listener) as url,
            httpx.AsyncClient(
                base_url=f"{url}/v1", headers=headers, limits=limits, timeout=60, trust_env=False
            ) as http,
        ):
            yield Running(bridge, f"{url}/v1", said, http)
        await bridge.close(5)
