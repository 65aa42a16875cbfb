"""A conversation through the bridge, by the real SDK, with the whole system behind it."""

import asyncio
import socket

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from support.bridges import KEY
from support.users import WAIT_S

from gui.bridge.app import Access, Bridge
from gui.bridge.stack.api import Api
from gui.bridge.stack.cognito import SignIn
from local.cloud import LocalCloud
from local.machine.serving import serving
from local.node.node import LocalNode
from local.users import create_user

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="session")]
CONVERSATION: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hello. How can I help?"},
    {"role": "user", "content": [{"type": "text", "text": "Say hello again."}]},
]


async def test_a_conversation_is_streamed_from_the_node(cloud: LocalCloud, up: LocalNode) -> None:
    user, said = "bridge@example.com", list[str]()
    password = await asyncio.to_thread(create_user, cloud, user)
    listener = socket.create_server(("127.0.0.1", 0))
    async with httpx.AsyncClient(trust_env=False) as http:
        client_id = cloud.output("user_pool_client_id")
        sign_in = SignIn(http, cloud.endpoint.url, client_id, user, password)
        bridge = Bridge(Api(http, cloud.api_url, sign_in), Access(key=KEY), said.append)
        async with (
            serving(bridge.app, listener) as url,
            asyncio.timeout(WAIT_S),
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client,
        ):
            stream = await client.chat.completions.create(
                model="tl-fif",
                messages=CONVERSATION,
                max_tokens=4,
                temperature=0,
                stream=True,
                stream_options={"include_usage": True},
                extra_body={"idle_minutes": 30},
            )
            chunks = [chunk async for chunk in stream]
        await bridge.close(1)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert chunks[-2].choices[0].finish_reason == "length"
    usage = chunks[-1].usage
    assert usage is not None
    # More than the last message alone: the whole conversation was read.
    assert (usage.prompt_tokens > 25, usage.completion_tokens) == (True, 4)
    assert said == []
