"""The order of the tests, and their servers: one moto for all, emptied before each test, and what
stands before it.
"""

import gc
import os
import re
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import pytest_asyncio
from botocore.config import Config
from support import made_once, pushed, run, spread
from support.calls import REGION, ClientOf
from support.ledger import LEDGER
from support.world import UserPool, World
from support.world import world as make_world

from local.aws.ec2 import Delays
from local.aws.endpoint import Endpoint
from local.aws.moto import Moto, start_moto
from local.aws.principals import Credentials
from local.cloud import LocalCloud, Options
from local.machine.processes import Processes
from local.machine.valkey import Valkey, start_valkey
from recording import shipped

# The tests of these folders run what is deployed in their own process; to trace the others, which
# start processes or evaluate the program, would take a fifth of the run and find nothing.
MEASURED = ("tlfif", "worker", "functions", "watcher")
TESTS = Path(__file__).parent

# Compiled modules are kept, as by the Makefile, and by the processes that tests start: reading
# Pulumi's classes and AWS's would take each of them seconds more.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# An operator's own stacks are nothing that the tests, or a page that they hold, could know.
shipped.show()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A file that the push's selection has nothing of is not even read."""
    if config.getoption("markexpr") != "push":
        return None
    test = collection_path.relative_to(TESTS.parent).as_posix()
    return pushed.later(test) is not None or None


# Before pytest chooses by markers.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: spread.place(item.nodeid))
    for item in items:
        if item.path.relative_to(TESTS).parts[0] not in MEASURED:
            item.add_marker(pytest.mark.no_cover)
        if pushed.later(item.nodeid) is None:
            item.add_marker(pytest.mark.push)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> spread.Spread:
    config.option.loadscopereorder = False
    return spread.Spread(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    # More than there are processors: half of the tests' time they wait for servers and time-outs.
    return 2 * (os.cpu_count() or 2)


def pytest_sessionstart(session: pytest.Session) -> None:
    made_once.begin()
    # Each worker has its own folder in one that all share; pytest names them to fixtures alone.
    own: Path = session.config._tmp_path_factory.getbasetemp()
    run.begin((own if run.worker() == run.ALONE else own.parent) / "shared")


def pytest_collection_finish() -> None:
    # What was read by now stays: to look for garbage among it took a part of each test's time.
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    outcome = yield
    LEDGER.write()
    run.finish(item.nodeid)
    return outcome


class FailuresAtOnce:
    """A failed test says its name and why at once: a run that is cut off has no summary."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.failed:
            return
        crash = getattr(report.longrepr, "reprcrash", None)
        why = crash.message if crash else report.longreprtext
        places = re.findall(r"^(tests/[\w/]+\.py:\d+):", report.longreprtext, re.MULTILINE)
        said = f"{report.when} of {report.nodeid}: {' '.join(places)}: {why[:1000]}"
        self._terminal.write_line(f"\n{said}", red=True)


# After the terminal's own reporter, and in the process that has one and its workers' reports.
@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(FailuresAtOnce(terminal))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def moto_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Moto]:
    async with Processes(tmp_path_factory.mktemp("moto")) as procs:
        yield await start_moto(procs, REGION)


@pytest.fixture
def moto(moto_server: Moto) -> Moto:
    """An empty moto."""
    moto_server.reset()
    return moto_server


@pytest_asyncio.fixture
async def endpoint(moto: Moto) -> AsyncIterator[Endpoint]:
    """An endpoint before an empty moto; instances take a tenth of a second to start."""
    async with Endpoint(moto, delays=Delays(pending_s=0.1, stopping_s=0.1)) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def boto_session() -> boto3.Session:
    """One for all: reading the services' models is what takes boto3 long."""
    return boto3.Session(region_name=REGION)


@pytest.fixture
def client_of(endpoint: Endpoint, boto_session: boto3.Session) -> ClientOf:
    """Blocking boto3 clients through the endpoint: call them with `asyncio.to_thread`."""

    def client(
        service: str, key: Credentials | None = None, url: str = endpoint.url, **config: Any
    ) -> Any:
        access_key, secret = key or endpoint.operator
        options = Config(**{"retries": {"max_attempts": 0}, "proxies": {}, **config})
        return boto_session.client(
            service,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret,
            endpoint_url=url,
            config=options,
        )

    return client


@pytest_asyncio.fixture
async def procs(tmp_path: Path) -> AsyncIterator[Processes]:
    async with Processes(tmp_path / "logs") as procs:
        yield procs


@pytest_asyncio.fixture
async def valkey(procs: Processes) -> Valkey:
    """A server of the test's own, up in 0.1 s."""
    return await start_valkey(procs)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cloud() -> AsyncIterator[LocalCloud]:
    """The whole system, one for all tests; a minute lasts a second, and a lost worker's lease only
    two.
    """
    # A boot takes as long as it does, and a busy machine longer than the usual scaled minutes.
    gpu = {"slots": 4, "maxLifetimeHours": 24, "bootAllowanceMinutes": 30}
    options = Options(
        config={"tl-fif:gpu": gpu},
        seconds_per_minute=1.0,
        delays=Delays(pending_s=0.2, stopping_s=0.2),
        watcher={"TLFIF_LEASE_RENEW_S": "0.5", "TLFIF_LEASE_IDLE_S": "2"},
    )
    async with LocalCloud(options) as cloud:
        # The replies' whole history is evidence.
        cloud.moto.client("s3").put_bucket_versioning(
            Bucket=cloud.output("replies_bucket"), VersioningConfiguration={"Status": "Enabled"}
        )
        LEDGER.watch(cloud)
        yield cloud


@pytest.fixture(scope="session")
def pool() -> Iterator[UserPool]:
    """A user pool's keys, and the tokens they are for."""
    pool = UserPool()
    yield pool
    pool.close()


@pytest.fixture
def world(
    endpoint: Endpoint,
    moto: Moto,
    valkey: Valkey,
    pool: UserPool,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    """The functions in this process, with a queue, EC2 and S3 of the test's own; no node yet."""
    with make_world(endpoint, moto, valkey, pool, monkeypatch) as made:
        yield made
