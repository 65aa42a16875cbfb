"""How a node gets its settings at each boot, and that one without them does not go on costing."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from support.calls import ClientOf
from support.watchers import Machine

from local.aws.endpoint import Endpoint
from local.aws.faults import Fault
from local.machine.valkey import Valkey
from tlfif import aws, names
from tlfif.queue import accepting, scripts
from watcher import boot, instance, machine, main, settings
from watcher.instance import Instance, InstanceError
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
def boots(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Has a node boot whose metadata or settings come at the given attempt; what it did."""

    def arrange(
        *, metadata_at: int = 1, settings_at: int = 1, refused: SettingsError | None = None
    ) -> list[str]:
        made: list[str] = []

        def asked(what: str, at: int, answer: Any, refusal: Exception) -> Any:
            made.append(what)
            if made.count(what) < at:
                raise refusal
            return answer

        async def serve(_: Settings, restarted: bool, steps: object) -> int:
            made.append("served")
            return 0

        away = InstanceError("no metadata")
        late = refused or SettingsError("the network is not up yet")
        monkeypatch.setattr(instance, "ask", lambda _: asked("metadata", metadata_at, THIS, away))
        monkeypatch.setattr(
            settings, "load", lambda *_: asked("settings", settings_at, SETTINGS, late)
        )
        monkeypatch.setattr(machine, "STOPPING_S", 0)
        monkeypatch.setattr(machine, "STOP_PATIENCE_S", 0.3)
        monkeypatch.setattr(main, "run", serve)
        for name, seconds in (("PATIENCE", 0.3), ("EVERY", 0.05)):
            monkeypatch.setattr(boot, f"{name}_S", seconds)
        with pytest.raises(SystemExit) as ended:
            main.main()
        assert ended.value.code == (0 if "served" in made else 1)
        return made

    return arrange


def test_a_node_whose_network_comes_late_waits_for_its_settings(
    boots: Callable[..., list[str]], node_machine: Machine
) -> None:
    assert boots(settings_at=3) == ["metadata", *["settings"] * 3, "served"]
    assert boots(metadata_at=3) == [*["metadata"] * 3, "settings", "served"]
    assert (node_machine.stops, node_machine.powered_off) == ([], 0)


def test_a_node_that_never_gets_settings_stops_its_machine(
    boots: Callable[..., list[str]], node_machine: Machine
) -> None:
    assert set(boots(settings_at=1000)) == {"metadata", "settings"}
    assert len(node_machine.stops) == 1


def test_a_machine_that_ec2_does_not_stop_powers_itself_off(
    boots: Callable[..., list[str]], node_machine: Machine
) -> None:
    node_machine.refuses = True
    boots(settings_at=1000)
    assert (node_machine.stops, node_machine.powered_off) == ([], 1)
    assert node_machine.counted == 1, "AutoStops, before the machine goes"


def test_a_machine_that_does_not_know_its_name_powers_itself_off(
    boots: Callable[..., list[str]], node_machine: Machine
) -> None:
    assert set(boots(metadata_at=1000)) == {"metadata"}
    assert node_machine.powered_off == 1


@pytest.mark.integration
def test_a_node_with_a_bad_setting_says_so_in_the_queue(
    valkey: Valkey, boots: Callable[..., list[str]], node_machine: Machine
) -> None:
    told = {**TOLD, "TLFIF_REDIS_HOST": valkey.host, "TLFIF_REDIS_PORT": str(valkey.port)}
    with pytest.raises(SettingsError) as refused:
        settings.parse(json.dumps({**told, "TLFIF_GPU_SLOTS": "many"}), THIS, {})
    boots(settings_at=1000, refused=refused.value)
    with contextlib.closing(scripts.connect(valkey.host, valkey.port)) as client:
        failure = scripts.run(client, accepting.status()).failure
    assert failure is not None
    assert failure["code"] == "SettingsUnusable"
    assert "TLFIF_GPU_SLOTS = 'many'" in failure["message"]
    assert len(node_machine.stops) == 1
