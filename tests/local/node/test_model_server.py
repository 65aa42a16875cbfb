"""The local model server with its real model: the OpenAI-compatible surface that the watcher
expects of vLLM.
"""

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from support import calm
from support.signals import default_interrupts

from local.machine.ports import free_port
from local.machine.processes import Process, Processes
from local.node import model_file
from local.node.node import ROOT
from tlfif import names
from tlfif.queue.conversation import Message, of
from worker.completions import JobRefusedError
from worker.model import Model, Patience

pytestmark = [pytest.mark.integration, pytest.mark.story("EC2-003")]

SLOTS = 4
STORY = of({"prompt": "Write a very long story."})
# A machine with much else to do reads a whole context for longer than a job waits.
PATIENCE = Patience(silence_s=240.0)


@contextlib.asynccontextmanager
async def served(procs: Processes, *more: str) -> AsyncIterator[tuple[Model, Process]]:
    port = free_port()
    argv = [
        sys.executable,
        "-m",
        "local.node.model_server",
        "--port",
        str(port),
        "--slots",
        str(SLOTS),
        *more,
    ]
    async with Model(f"http://127.0.0.1:{port}", "tinyllama", PATIENCE) as model:

        async def ready() -> bool:
            return not await model.probe(10)

        yield model, await procs.start("model", argv, cwd=ROOT, ready=ready, timeout=60)


@pytest_asyncio.fixture
async def model(procs: Processes) -> AsyncIterator[Model]:
    async with served(procs) as (model, _):
        yield model


async def answer(model: Model, asked: str | list[Message], **options: object) -> tuple[str, int]:
    messages = of({"prompt": asked}) if isinstance(asked, str) else asked
    text, tokens = "", 0
    async for chunk in model.stream(messages, options):
        text += chunk.text
        tokens = chunk.usage.completion_tokens if chunk.usage else tokens
    return text, tokens


def turns(*said: str) -> list[Message]:
    """A conversation of "role: content" lines."""
    pairs = (line.split(": ", 1) for line in said)
    return [Message(role=role, content=content) for role, content in pairs]


@pytest.mark.story("LAM-002")
async def test_it_remembers_what_was_said_before(model: Model) -> None:
    messages = turns(
        "user: My cat is called Minka.",
        "assistant: Minka is a nice name for a cat.",
        "user: What is the name of my cat?",
    )
    text, _ = await answer(model, messages, max_tokens=8, temperature=0)
    assert "Minka" in text
    forgetful, _ = await answer(model, messages[-1:], max_tokens=8, temperature=0)
    assert "Minka" not in forgetful


async def test_whoever_spoke_before_it_answers(model: Model) -> None:
    for messages in (
        turns("system: Be brief.", "user: Hi"),
        turns("assistant: Hello.", "user: Hi"),
        turns("user: Hi", "user: Are you there?"),
        turns("system: Be brief.", "assistant: Hello.", "assistant: Well?", "user: Hi"),
    ):
        assert (await answer(model, messages, max_tokens=2))[1] > 0, messages


async def test_streams_counts_and_keeps_to_the_options(model: Model) -> None:
    text, tokens = await answer(model, "Tell me about the sea.", max_tokens=12, temperature=0)
    assert text.strip()
    assert tokens == 12
    assert (text, tokens) == await answer(
        model, "Tell me about the sea.", max_tokens=12, temperature=0
    )


async def test_more_requests_than_slots_are_all_answered(model: Model) -> None:
    answers = await asyncio.gather(
        *(answer(model, f"Count from {n} on.", max_tokens=8) for n in range(2 * SLOTS))
    )
    assert all(tokens > 0 and text for text, tokens in answers)


async def test_a_prompt_longer_than_the_context_is_refused_as_the_callers_fault(
    model: Model,
) -> None:
    with pytest.raises(JobRefusedError, match=str(names.DEFAULT_CONTEXT_TOKENS)):
        await answer(model, "a b " * names.DEFAULT_CONTEXT_TOKENS, max_tokens=5)


async def test_an_answer_ends_where_the_context_does(model: Model) -> None:
    """A prompt and a max_tokens that the API takes, and that are too long together."""
    prompt = "a b " * ((names.DEFAULT_CONTEXT_TOKENS - 60) // 2)
    assert len(prompt) < names.MAX_PROMPT_BYTES
    usage, reason = None, None
    # Without its end-of-text token, the model would go on for ever.
    options = {"max_tokens": names.MAX_TOKENS, "temperature": 0, "logit_bias": [[2, False]]}
    async for chunk in model.stream(of({"prompt": prompt}), options):
        usage, reason = chunk.usage or usage, chunk.finish_reason or reason
    assert usage is not None
    assert (reason, usage.prompt_tokens + usage.completion_tokens) == (
        "length",
        names.DEFAULT_CONTEXT_TOKENS,
    )


@pytest.mark.story("EC2-002")
async def test_another_context_is_the_engines_limit(procs: Processes) -> None:
    context = names.DEFAULT_CONTEXT_TOKENS + 1_024
    async with served(procs, "--context", str(context)) as (model, _):
        # Refused before anything is read: a processor would take a minute for as much.
        with pytest.raises(JobRefusedError, match=rf"\b{context} tokens"):
            await answer(model, "a b " * context, max_tokens=5)


async def test_a_client_that_leaves_frees_its_slot(model: Model) -> None:
    for _ in range(2 * SLOTS):
        async with contextlib.aclosing(model.stream(STORY, {})) as stream:
            await anext(stream)
    begun = calm.now()
    await answer(model, "Hi", max_tokens=1)
    assert calm.now() - begun < 2


async def test_sigterm_does_not_wait_for_generations(procs: Processes) -> None:
    async with served(procs) as (model, process):
        stream = model.stream(STORY, {})
        await anext(stream)
        begun = calm.now()
        assert await process.stop() == 0
        assert calm.now() - begun < 1
        await stream.aclose()


def test_a_taken_port_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "local.node.model_server", "--port", str(port)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert (
        ended.stderr
        == f"port {port} is taken, and the model server needs it: choose another port\n"
    )


def test_the_model_is_converted_once_and_whole(tmp_path: Path) -> None:
    shares: list[float] = []
    path = model_file.prepare(shares.append, tmp_path)
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert path.stat().st_size > 2.7 * model_file.shipped().stat().st_size
    again: list[float] = []
    assert model_file.prepare(again.append, tmp_path) == path
    assert again == []


def test_a_conversion_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    code = """if True:
        import pathlib, sys
        from local.node import model_file
        model_file.prepare(lambda share: print(share, flush=True), pathlib.Path(sys.argv[1]))
    """
    command = [sys.executable, "-c", code, tmp_path]
    with (
        default_interrupts(),
        subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as child,
    ):
        assert child.stdout is not None
        child.stdout.readline()
        child.send_signal(signal.SIGINT)
    assert list(tmp_path.iterdir()) == []
