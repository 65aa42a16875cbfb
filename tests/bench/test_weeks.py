"""The simulated weeks: what they promise about themselves, and their table in the docs."""

import ast
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis

from bench.weeks import __main__ as weeks
from bench.weeks import load
from bench.weeks.clock import Clock, SimulatedQueue
from bench.weeks.record import Record
from bench.weeks.world import BEGIN_MS, POLICIES, Policy
from components.settings import Settings
from local.machine.processes import Processes
from local.machine.valkey import start_valkey
from recording.model import ROOT
from tlfif import names
from tlfif.queue import accepting, lane

PEOPLE = load.people
PAGE = weeks.PAGE.read_text()
SETTINGS = Settings.parse({"aws:region": weeks.REGION})
POLICY = {policy.wake: policy for policy in POLICIES if policy.prompt_bytes < 6_000}
NUMBER = re.compile(r"[\d.,]+( s|%)?( / [\d.,]+( s)?)?")


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator["redis.Redis"]:
    async with Processes(tmp_path) as procs:
        valkey = await start_valkey(procs)
        with valkey.operator(decode_responses=True) as client:
            yield client


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


# --- the page


def test_the_page_has_a_row_for_each_policy_and_each_group_of_users() -> None:
    found = weeks.BLOCK.search(PAGE)
    assert found, "docs/instant-lane.md has no table; make bench BENCH=weeks ROUNDS=1 ARGS=write"
    head, _, *rows = found.group().splitlines()[1:-1]
    assert tuple(cells(head)) == weeks.COLUMNS
    wanted = [(users, policy.name) for users in load.USERS for policy in POLICIES]
    assert [tuple(cells(row)[:2]) for row in rows] == wanted
    for row in rows:
        figures = cells(row)[2:]
        assert len(figures) == len(weeks.COLUMNS) - 2
        assert all(NUMBER.fullmatch(figure) for figure in figures), row
        assert figures[-1] == "0", f"jobs expired: {row}"


@pytest.mark.story("LAM-004")
def test_the_page_names_every_failure_of_the_lane_and_no_other() -> None:
    folder = ROOT / "functions" / "cpu_worker"
    calls = [
        node
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("LaneFailure", "WeightsFailure")
    ]
    raised = {call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant)}
    table = PAGE.partition("## How it fails")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == raised | {"LaneSilent"}


# --- the simulation


def days(count: int) -> list[load.Person]:
    """The first sessions of a person's first week."""
    [person] = PEOPLE(1, 1, 1)
    return [load.Person(person.name, person.sessions[: count * len(load.SESSIONS)])]


def simulated(
    client: "redis.Redis", policy: Policy, monkeypatch: pytest.MonkeyPatch, count: int = 1
) -> Record:
    monkeypatch.setattr(load, "people", lambda *_: days(count))
    return weeks.simulate(client, policy, 1, 1, SETTINGS)


@pytest.mark.integration
@pytest.mark.story("LAM-004")
def test_each_policy_has_answered_whom_it_says(
    client: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    records = {wake: simulated(client, POLICY[wake], monkeypatch) for wake in POLICY}
    by = {wake: {each.by for each in record.asked.values()} for wake, record in records.items()}
    assert by[None] == {"gpu"}
    assert by["always"] == {"lane", "gpu"}
    assert by["never"] == {"lane"}
    assert records["never"].gpu_s == records[None].lane_s == 0
    # Under `always` the node is woken as if there were no lane; `backlog` is what saves.
    assert records["backlog"].gpu_s < records["always"].gpu_s
    opening = [each for each in records["always"].asked.values() if each.opens]
    assert all(each.first_s < 60 for each in opening if each.prompt.size <= 1_500)


@pytest.mark.integration
def test_the_same_seed_has_the_same_week(
    client: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = [
        weeks.figures(simulated(client, POLICY["always"], monkeypatch), 1, SETTINGS)
        for _ in range(2)
    ]
    assert figures[0] == figures[1]


@pytest.mark.integration
def test_what_expires_in_the_queue_expires_in_simulated_time(client: "redis.Redis") -> None:
    clock = Clock(BEGIN_MS)
    queue = SimulatedQueue(client, clock)
    assert queue.ask(lane.enter("a")) == "entered"
    clock.now_ms += names.HEARTBEAT_TTL_S * 1000 - 1
    assert queue.ask(lane.enter("b")) == "busy"
    clock.now_ms += 1
    assert queue.ask(lane.enter("b")) == "entered"
    job = accepting.NewJob(
        id="6f1c2b1e-3c0a-4b52-9d5e-0a1b2c3d4e5f", sub="ada", prompt="Hello", idle_minutes=5
    )
    accepted = queue.ask(accepting.accept(job, accepting.Limits()))
    assert isinstance(accepted, accepting.Accepted)
    assert accepted.expires_at == clock.now_ms + names.JOB_TTL_S * 1000


@pytest.mark.integration
def test_a_table_is_made_and_written_where_the_page_has_it(
    client: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "people", lambda *_: days(1))
    monkeypatch.setattr(load, "USERS", {"one person": 1})
    made = weeks.table(client, 1).splitlines()
    assert len(made) == 2 + len(POLICIES)
    page = weeks.written("<!-- weeks -->\nold\n<!-- /weeks -->\nrest\n", "\n".join(made))
    assert page.splitlines() == ["<!-- weeks -->", *made, "<!-- /weeks -->", "rest"]
