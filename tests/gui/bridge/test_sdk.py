"""The real `openai` SDK against the bridge: as people's programs use it."""

import asyncio
from collections.abc import AsyncIterator

import openai
import pytest
import pytest_asyncio
from openai.types.chat import ChatCompletionMessageParam
from support.bridges import KEY, Running
from support.calls import eventually
from support.scripted_stack import ScriptedStack, done, ended, refusal

pytestmark = pytest.mark.integration

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]


@pytest_asyncio.fixture
async def client(running: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    # As it comes: it tries twice more by itself.
    async with openai.AsyncOpenAI(base_url=running.url, api_key=KEY, timeout=60) as client:
        yield client


async def test_an_answer_and_a_stream_synchronously(running: Running, stack: ScriptedStack) -> None:
    def ask() -> tuple[str | None, str]:
        with openai.OpenAI(base_url=running.url, api_key=KEY, timeout=60) as client:
            assert [model.id for model in client.models.list()] == ["tl-fif"]
            assert client.models.retrieve("tl-fif").object == "model"
            whole = client.chat.completions.create(model="tl-fif", messages=HELLO)
            with client.chat.completions.create(
                model="tl-fif", messages=HELLO, stream=True
            ) as stream:
                pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
            return whole.choices[0].message.content, "".join(pieces)

    stack.script = [None, "Pa", done("Paris.")]
    assert await asyncio.to_thread(ask) == ("Paris.", "Paris.")


async def test_a_stream_with_usage(client: openai.AsyncOpenAI, stack: ScriptedStack) -> None:
    stack.script = [None, "Pa", done("Paris.")]
    async with await client.chat.completions.create(
        model="tl-fif", messages=HELLO, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Paris."
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 10


async def test_the_helper_that_assembles_a_stream(
    client: openai.AsyncOpenAI, stack: ScriptedStack
) -> None:
    stack.script = ["Pa", done("Paris.")]
    async with client.chat.completions.stream(model="tl-fif", messages=HELLO) as stream:
        completion = await stream.get_final_completion()
    assert completion.choices[0].message.content == "Paris."


async def test_a_stream_that_is_closed_cancels_its_job(
    client: openai.AsyncOpenAI, stack: ScriptedStack
) -> None:
    stack.script = ["Pa"]
    stream = await client.chat.completions.create(model="tl-fif", messages=HELLO, stream=True)
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    await stream.close()

    async def cancelled() -> bool:
        return stack.cancelled == set(stack.jobs.values())

    await eventually(cancelled)


async def test_each_refusal_is_the_sdks_own_error(
    running: Running, client: openai.AsyncOpenAI, stack: ScriptedStack
) -> None:
    async def ask(**fields: object) -> None:
        await client.chat.completions.create(
            **{"model": "tl-fif", "messages": HELLO, **fields}  # type: ignore[arg-type]
        )

    with pytest.raises(openai.AuthenticationError, match="not the bridge's"):
        await client.with_options(api_key="sk-wrong").models.list()
    with pytest.raises(openai.NotFoundError, match="the only one is 'tl-fif'"):
        await ask(model="gpt-4o")
    with pytest.raises(openai.BadRequestError) as caught:
        await ask(messages=[{"role": "user", "content": "x" * 6001}])
    assert caught.value.code == "context_length_exceeded"
    assert stack.posts == []
    # Once each: to try again would mend neither.
    for refused, error in (
        (refusal(402, "budget_exhausted", message="spent until May"), openai.RateLimitError),
        (refusal(403, "forbidden"), openai.PermissionDeniedError),
    ):
        before = len(stack.posts)
        stack.refusals = [refused]
        with pytest.raises(error):
            await ask()
        assert len(stack.posts) == before + 1
    stack.script = [ended("failed", error="the engine broke")]
    with pytest.raises(openai.InternalServerError, match="the engine broke"):
        await ask()
    assert len(stack.jobs) == 1


async def test_an_error_in_the_middle_of_a_stream_is_raised(
    client: openai.AsyncOpenAI, stack: ScriptedStack
) -> None:
    stack.script = ["Pa", ended("cancelled", reason="stopped")]
    stream = await client.chat.completions.create(model="tl-fif", messages=HELLO, stream=True)
    with pytest.raises(openai.APIError, match="cancelled") as caught:
        async for _ in stream:
            pass
    assert caught.value.code == "cancelled"
