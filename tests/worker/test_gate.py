"""When the engine is trusted, doubted and restarted (EC2-003): a model in this process, no clock
of its own.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import pytest_asyncio

from worker import gate as gates
from worker.completions import ModelAwayError, ModelBrokeError, ModelSilentError
from worker.gate import Gate, Verdict
from worker.host import Ended
from worker.model import Model, Patience
from worker.tasks import end

pytestmark = pytest.mark.story("EC2-003")

BROKE, AWAY = ModelBrokeError("500"), ModelAwayError("503")
TOKEN = b'data: {"choices": [{"delta": {"content": "x"}, "finish_reason": "length"}]}\n\n'


class Engine:
    """Answers probes as `says`: an HTTP status, "hang", or a stream's bytes."""

    def __init__(self) -> None:
        self.says: int | str | bytes = TOKEN
        self.probes: list[dict[str, object]] = []
        self.told: list[object] = []
        self.on_restart: Callable[[], None] = lambda: None

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.probes.append(json.loads(request.content))
        if self.says == "hang":
            await asyncio.Event().wait()
        if self.says == "refuse":
            raise httpx.ConnectError("refused")
        if isinstance(self.says, int):
            return httpx.Response(self.says, json={})
        assert isinstance(self.says, bytes)
        return httpx.Response(200, content=self.says)

    def job_ended(self, job: Ended) -> None:
        raise AssertionError("the gate ends no job")

    async def engine_changed(self, ready: bool) -> None:
        self.told.append(ready)

    async def restart_engine(self, why: str) -> None:
        self.told.append(why)
        self.on_restart()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr(gates, "PROBE_EVERY_S", 0.001)
    monkeypatch.setattr(gates, "SETTLES_S", 0.02)
    return Engine()


@pytest_asyncio.fixture
async def gate(engine: Engine) -> AsyncIterator[Gate]:
    transport = httpx.MockTransport(engine.answer)
    made = Gate(Model("http://model", "m", Patience(0.2, 0.05), transport=transport), engine)
    running = asyncio.create_task(made.run())
    yield made
    await end(running)
    assert running.cancelled()


async def test_ready_is_a_token_as_jobs_get_it(gate: Gate, engine: Engine) -> None:
    assert not gate.is_open
    await gate.wait()
    assert engine.told == [True]
    assert (engine.probes[0]["max_tokens"], engine.probes[0]["stream"]) == (1, True)


async def test_a_failure_of_one_job_is_its_own_while_the_engine_answers(
    gate: Gate, engine: Engine
) -> None:
    await gate.wait()
    verdict = asyncio.create_task(gate.doubt("a", BROKE))
    await asyncio.sleep(0)
    assert not gate.is_open, "nothing is claimed before it is known"
    assert await verdict is Verdict.JOB
    await asyncio.wait_for(gate.wait(), 1)
    assert engine.told == [True], "nobody need hear of it"


async def test_jobs_that_fail_together_are_not_at_fault(gate: Gate) -> None:
    await gate.wait()
    verdicts = await asyncio.gather(*(gate.doubt(job, BROKE) for job in "ab"))
    assert verdicts == [Verdict.SHARED] * 2
    await asyncio.wait_for(gate.wait(), 1)


@pytest.mark.parametrize(
    "says",
    [
        500,
        503,
        "hang",
        "refuse",
        b"",
        b"{}",
        b"data: [DONE]\n\n",
        TOKEN.replace(b"length", b"abort"),
        b'data: {"error": {"message": "EngineCore encountered an issue.", "code": 500}}\n\n',
    ],
)
async def test_an_engine_that_answers_nobody_is_away(
    gate: Gate, engine: Engine, says: int | str | bytes
) -> None:
    await gate.wait()
    engine.says = says
    assert await gate.doubt("a", BROKE) is Verdict.AWAY
    assert await gate.doubt("b", BROKE) is Verdict.AWAY, "at once: it is known"
    assert engine.told[:2] == [True, False]
    assert gate.why
    engine.says = TOKEN
    await asyncio.wait_for(gate.wait(), 1)
    assert engine.told[-1] is True


@pytest.mark.parametrize("says", [500, "hang", b"", TOKEN.replace(b"length", b"abort")])
async def test_an_engine_that_is_there_and_does_not_work_is_restarted(
    gate: Gate, engine: Engine, says: int | str | bytes
) -> None:
    await gate.wait()
    engine.on_restart = lambda: setattr(engine, "says", TOKEN)
    engine.says = says
    await gate.doubt("a", BROKE)
    await asyncio.wait_for(gate.wait(), 2)
    assert [type(each) for each in engine.told] == [bool, bool, str, bool]


@pytest.mark.parametrize("says", [503, 404, "refuse"])
async def test_an_engine_that_loads_is_left_alone(
    gate: Gate, engine: Engine, says: int | str
) -> None:
    await gate.wait()
    engine.says = says
    await gate.doubt("a", BROKE)
    await asyncio.sleep(0.1)
    assert engine.told == [True, False]


async def test_a_restart_gets_the_time_to_load(
    gate: Gate, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await gate.wait()
    engine.says = 500
    await gate.doubt("a", BROKE)
    await asyncio.sleep(0.1)
    assert len(engine.told) == 3, "once, though it goes on failing"
    monkeypatch.setattr(gates, "RESTART_AGAIN_S", 0.0)
    await asyncio.sleep(0.05)
    assert len(engine.told) > 3


async def test_many_jobs_that_fail_in_turn_are_the_engine_s_fault(
    gate: Gate, engine: Engine
) -> None:
    await gate.wait()
    verdicts = list[Verdict]()
    for job in "aabc":
        verdicts.append(await gate.doubt(job, BROKE))
        await asyncio.wait_for(gate.wait(), 1)
    assert verdicts == [Verdict.JOB, Verdict.JOB, Verdict.JOB, Verdict.SHARED]
    assert "3 jobs failed one after the other" in engine.told


async def test_what_failed_with_an_engine_that_was_away_is_not_held_against_the_next(
    gate: Gate, engine: Engine
) -> None:
    await gate.wait()
    engine.says = 503
    await asyncio.gather(*(gate.doubt(job, BROKE) for job in "abc"))
    engine.says = TOKEN
    await asyncio.wait_for(gate.wait(), 1)
    assert await gate.doubt("d", BROKE) is Verdict.JOB


async def test_an_answer_between_failures_clears_the_engine(gate: Gate, engine: Engine) -> None:
    await gate.wait()
    for job in "abcdef":
        assert await gate.doubt(job, BROKE) is Verdict.JOB
        gate.answered()
        await asyncio.wait_for(gate.wait(), 1)
    assert engine.told == [True]


async def test_an_engine_without_room_for_a_probe_is_slow_and_not_away(
    gate: Gate, engine: Engine
) -> None:
    await gate.wait()
    engine.says = "hang"
    verdict = asyncio.create_task(gate.doubt("a", ModelSilentError("60 s")))
    await asyncio.sleep(0.02)
    gate._model.heard_at = time.monotonic()
    assert await verdict is Verdict.JOB


async def test_who_is_refused_by_a_working_engine_waits_longer_each_time(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "_pause_s", 0.1)
    await gate.wait()
    begun = time.monotonic()
    for _ in range(2):
        assert await gate.doubt("a", AWAY) is Verdict.JOB
        await gate.wait()
    assert time.monotonic() - begun > 0.3
