"""How a node gets its settings at each boot, and that one without them does not go on costing."""

import asyncio
import json
from collections.abc import Callable

import pytest
from support.calls import ClientOf
from support.watchers import Machine

from local.aws.endpoint import Endpoint
from local.aws.faults import Fault
from tlfif import aws, names
from watcher import instance, main, settings
from watcher.instance import Instance
from watcher.settings import Settings, SettingsError

pytestmark = pytest.mark.story("EC2-003", "EC2-004")

THIS = Instance(id="i-1", region="us-east-1", stack="dev", started_at=0.0)
TOLD = {
    "TLFIF_STACK": "dev",
    "TLFIF_REGION": "us-east-1",
    "TLFIF_REDIS_HOST": "queue",
    "TLFIF_REPLIES_BUCKET": "replies",
    "TLFIF_GPU_SLOTS": "8",
    "TLFIF_MAX_LIFETIME_HOURS": "4",
}
SETTINGS = settings.parse(json.dumps(TOLD), THIS, {})


@pytest.mark.integration
async def test_a_changed_setting_reaches_the_node_at_its_next_boot(
    client_of: ClientOf, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = client_of("ssm")
    monkeypatch.setattr(aws, "client", lambda *_, **__: store)

    async def boot() -> Settings:
        return await asyncio.to_thread(settings.load, THIS, {})

    async def tell(**changes: str) -> None:
        name, text = names.node_parameter("dev"), json.dumps({**TOLD, **changes})
        await asyncio.to_thread(
            store.put_parameter, Name=name, Value=text, Type="String", Overwrite=True
        )

    with pytest.raises(SettingsError, match="TLFIF_REDIS_HOST is missing from the parameter"):
        await boot()
    await tell()
    assert (await boot()).gpu_slots == 8
    await tell(TLFIF_GPU_SLOTS="9")
    assert (await boot()).gpu_slots == 9
    refused = Fault("ssm", "GetParameter", status=400, code="AccessDeniedException")
    with (
        endpoint.faults.injected(refused),
        pytest.raises(SettingsError, match=r"cannot read the parameter /tl-fif/dev/node: .*Denied"),
    ):
        await boot()


@pytest.fixture
def boots(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[str]]:
    """Has a node boot whose settings come at the given attempt; the attempts that it made."""

    def arrange(at: int) -> list[str]:
        made: list[str] = []

        def load(*_: object) -> Settings:
            made.append("asked")
            if len(made) < at:
                raise SettingsError("the network is not up yet")
            return SETTINGS

        async def serve(_: Settings) -> int:
            made.append("served")
            return 0

        monkeypatch.setattr(settings, "load", load)
        monkeypatch.setattr(instance, "ask", lambda _: THIS)
        monkeypatch.setattr(main, "run", serve)
        for name, seconds in (("PATIENCE", 0.3), ("EVERY", 0.05)):
            monkeypatch.setattr(main, f"SETTINGS_{name}_S", seconds)
        monkeypatch.setattr(main, "STOPPING_S", 0)
        with pytest.raises(SystemExit) as ended:
            main.main()
        assert ended.value.code == (0 if "served" in made else 1)
        return made

    return arrange


def test_a_node_whose_network_comes_late_waits_for_its_settings(
    boots: Callable[[int], list[str]], node_machine: Machine
) -> None:
    assert boots(3) == ["asked"] * 3 + ["served"]
    assert node_machine.stops == []


def test_a_node_that_never_gets_settings_stops_its_machine(
    boots: Callable[[int], list[str]], node_machine: Machine
) -> None:
    assert set(boots(1000)) == {"asked"}
    assert len(node_machine.stops) == 1


def test_a_machine_that_does_not_stop_is_left_to_the_next_process(
    boots: Callable[[int], list[str]], node_machine: Machine
) -> None:
    node_machine.refuses = True
    assert set(boots(1000)) == {"asked"}
