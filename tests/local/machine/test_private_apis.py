"""What docs/private-apis.md lists is there, and used where it says."""

import importlib
import inspect
import re
from pathlib import Path
from pkgutil import resolve_name

import airspeed
import pulumi
import pytest
import uvicorn
from pulumi.runtime.mocks import MockMonitor
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from local.aws.moto import signing_key
from local.lambda_.worker import RUNTIME_CLIENT

ROOT = Path(__file__).resolve().parents[3]
ROWS: list[tuple[str, str]] = re.findall(
    r"^\| `([\w.]+:[\w.]+)` \| `([\w./]+)` \|", (ROOT / "docs/private-apis.md").read_text(), re.M
)


def test_the_table_is_read() -> None:
    assert len(ROWS) >= 20


@pytest.mark.parametrize(("name", "file"), ROWS)
def test_a_listed_name_exists_and_is_used(name: str, file: str) -> None:
    importlib.import_module(name.partition(":")[0])
    resolve_name(name)
    last = re.split(r"[.:]", name)[-1]
    assert re.search(rf"\b{last}\b", (ROOT / file).read_text())


def test_pulumis_mock_monitor_keeps_its_mocks() -> None:
    class Nothing(pulumi.runtime.Mocks):
        def call(self, args: pulumi.runtime.MockCallArgs):
            raise AssertionError

        def new_resource(self, args: pulumi.runtime.MockResourceArgs):
            raise AssertionError

    mocks = Nothing()
    assert MockMonitor(mocks).mocks is mocks


async def test_uvicorns_protocol_has_a_state_of_its_connection() -> None:
    async def app(scope: object, receive: object, send: object) -> None: ...

    config = uvicorn.Config(app, lifespan="off", log_config=None)
    config.load()
    protocol = H11Protocol(config, ServerState(), {"a": 1})
    assert protocol.app_state == {"a": 1}
    assert inspect.iscoroutinefunction(uvicorn.Server.main_loop)


def test_airspeeds_templates_have_a_root() -> None:
    template = airspeed.Template("$a")
    template.ensure_compiled()
    assert template.root_element is not None


def test_moto_ships_the_key_that_it_signs_with() -> None:
    assert {"kid", "n", "d"} <= signing_key().keys()


def test_awslambdarics_native_module_has_the_functions_that_we_stand_in_for() -> None:
    native = pytest.importorskip("runtime_client", reason="awslambdaric has no native module here")
    ours = (RUNTIME_CLIENT / "runtime_client.py").read_text()
    for name in re.findall(r"^def ([a-z]\w+)", ours, re.M):
        assert callable(getattr(native, name))
