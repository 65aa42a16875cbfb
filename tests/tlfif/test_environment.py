"""What functions and nodes are told: the program writes it by the classes that read it."""

import json
from dataclasses import asdict

import pytest
from support.recordings import evaluate

from recording import kinds
from recording.model import Recording, Resource
from recording.shipped import stacks
from tlfif import environment
from tlfif.environment import Environment, PingProbe, variable

# Which class a function reads, by its folder.
READERS: dict[str, type[Environment]] = {
    "authorizer": environment.Authorizer,
    "budget_killer": environment.BudgetKiller,
    "cost_publisher": environment.CostPublisher,
    "cpu_worker": environment.CpuWorker,
    "guardian": environment.Guardian,
    "meter": environment.Meter,
    "model_fetch": environment.ModelFetch,
    "payload_samples": environment.Queue,
    "ping_probe": environment.PingProbe,
    "queue_health": environment.QueueHealth,
    "router": environment.Router,
}
LOCAL_ONLY = {
    "TLFIF_EC2_TIMEOUT_S",
    "TLFIF_JWKS_URL",
    "TLFIF_PATIENCE_S",
    "TLFIF_SECONDS_PER_MINUTE",
}
FUNCTION = kinds.lambda_.FUNCTION.token


@pytest.fixture(scope="module", params=stacks())
def recording(request: pytest.FixtureRequest) -> Recording:
    return evaluate(request.param)


def declared(function: Resource) -> dict[str, str]:
    told = function.inputs.get("environment", {}).get("variables", {})
    return {name: value for name, value in told.items() if name.startswith("TLFIF_")}


def required(told: Environment) -> set[str]:
    """The variables of its fields but those that the local cloud alone sets."""
    return {variable(name) for name in asdict(told)} - LOCAL_ONLY


def test_every_function_reads_what_it_is_told_and_is_told_no_more(recording: Recording) -> None:
    functions = recording.of_type(FUNCTION)
    assert functions
    for function in functions:
        reader = READERS[function.inputs["handler"].partition(".")[0]]
        assert declared(function).keys() == required(reader.read(declared(function)))


def test_nodes_and_canaries_read_what_they_are_told(recording: Recording) -> None:
    told = json.loads(recording.one(kinds.ssm.PARAMETER.token).inputs["insecureValue"])
    assert told.keys() == required(environment.Node.read(told))
    for instance in recording.of_type(kinds.ec2.INSTANCE.token):
        told = json.loads(instance.inputs["userData"])
        assert told.keys() == required(environment.NodeIdentity.read(told))
    for canary in recording.of_type(kinds.monitoring.CANARY.token):
        told = canary.inputs["runConfig"]["environmentVariables"]
        assert environment.Canary.read(told).api_url.startswith("https://")


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(KeyError, match="TLFIF_STACK"):
        PingProbe.read({"TLFIF_API_URL": "https://api"})


def test_an_unreadable_value_is_named() -> None:
    told = {"TLFIF_REDIS_HOST": "queue", "TLFIF_REDIS_PORT": "6379 "}
    assert environment.Queue.read(told).redis_port == 6379
    with pytest.raises(ValueError, match="TLFIF_REDIS_PORT = 'redis' is no int"):
        environment.Queue.read({**told, "TLFIF_REDIS_PORT": "redis"})


def test_a_field_that_is_forgotten_or_that_nobody_reads_is_refused() -> None:
    with pytest.raises(TypeError, match=r"PingProbe: missing=\['stack'\], foreign=\['stak'\]"):
        PingProbe.variables(api_url="https://api", stak="dev")


def test_numbers_are_written_as_they_are_read() -> None:
    written = environment.Node.variables(
        redis_host="queue",
        redis_port=6379,
        stack="dev",
        region="us-east-1",
        replies_bucket="replies",
        model="tinyllama",
        gpu_slots=8,
        idle_minutes=5,
        max_lifetime_hours=0.5,
        boot_allowance_minutes=10,
        gpu_eur_per_hour=0.4624,
    )
    assert (written["TLFIF_GPU_SLOTS"], written["TLFIF_MAX_LIFETIME_HOURS"]) == ("8", "0.5")
    assert environment.Node.read(written).max_lifetime_hours == 0.5
