"""Every surface that costs by use has a counter, a price, and a bound that the program keeps."""

from typing import Any

import pytest
import yaml
from support.program import evaluate

from components import costs, iam, pricing, surfaces
from components.billed import FUNCTION, LOG_GROUP
from components.openapi import OPENAPI
from components.prices import PRICES
from components.settings import Settings
from recording import kinds
from recording.model import Recording
from tlfif import callers, environment, names
from tlfif.money import counting

pytestmark = pytest.mark.story("OPS-003")

METER = "meter-function"


def told(recording: Recording) -> environment.Meter:
    [function] = [each for each in recording.of_type(FUNCTION) if each.name == METER]
    return environment.Meter.read(function.inputs["environment"]["variables"])


def test_the_meter_counts_every_function_and_every_log(recording: Recording) -> None:
    meter = told(recording)
    functions = counting.unpack(meter.functions)
    made = {each.inputs["name"]: each.inputs for each in recording.of_type(FUNCTION)}
    assert {each.name for each in functions} == set(made)
    for each in functions:
        inputs = made[each.name]
        assert each.gb == inputs["memorySize"] / 1024
        assert (each.item == "Lambda compute x86") == (inputs["architectures"] == ["x86_64"])
        assert (each.disk_gb > 0) == ("ephemeralStorage" in inputs)
    groups = {each.inputs["name"] for each in recording.of_type(LOG_GROUP)}
    assert set(meter.log_groups.split(",")) == groups
    assert {each.role for each in functions} == {"router", "probed", "lane", "meter", ""}


def test_what_it_is_told_fits_an_environment_of_any_stack() -> None:
    """All variables together may have 4 kB."""
    for stack in ("literal", "a-stack-with-as-long-a-name-as-may-be-40"):
        try:
            recording = evaluate(stack)
        except FileNotFoundError:
            continue
        [function] = [each for each in recording.of_type(FUNCTION) if each.name == METER]
        variables = function.inputs["environment"]["variables"]
        assert sum(len(name) + len(value) for name, value in variables.items()) < 3_500


def test_functions_are_told_as_text(recording: Recording) -> None:
    functions = counting.unpack(told(recording).functions)
    assert counting.unpack(counting.pack(functions)) == functions


def test_what_it_counts_are_items_with_a_price(recording: Recording) -> None:
    meter = told(recording)
    functions = counting.unpack(meter.functions)
    counted = {counting.calls(each): 1.0 for each in functions}
    counted |= {counting.seconds(each): 1.0 for each in functions} | {counting.REACHED: 1.0}
    units = counting.units(counted, functions, 20, 0)
    assert set(units) <= surfaces.COUNTED <= set(PRICES)


def test_it_stays_within_the_requests_that_are_free(recording: Recording) -> None:
    asked = sum(each["quantity"] for each in recording.bill if each["item"] == "CloudWatch request")
    assert 0.1 * PRICES["CloudWatch request"]["us-east-1"].free < asked < 400_000


def test_the_limits_are_those_of_routes_that_are_there(dev: Recording) -> None:
    spec: dict[str, Any] = yaml.safe_load(OPENAPI.read_text())
    methods = {
        f"{path.replace('/', '~1')}/{method.upper()}": operation
        for path, item in spec["paths"].items()
        for method, operation in item.items()
        if method in ("get", "post", "delete", "options")
    }
    asked = {path for path, operation in methods.items() if "security" in operation}
    assert set(names.PREFLIGHTS) == {path for path in methods if path.endswith("/OPTIONS")}
    assert set(names.CHECKED) == set(methods) - asked - set(names.PREFLIGHTS)
    assert len(asked) + len(names.PREFLIGHTS) == names.TRICKLING_METHODS
    settings = dev.of_type(kinds.apigateway.METHOD_SETTINGS.token)
    assert {each.inputs["methodPath"] for each in settings} == set(names.THROTTLES)
    for path, operation in methods.items():
        if path in asked:
            assert operation["security"] == [{"jwt": []}, {"caller": []}], path


def test_no_surface_can_cost_much_before_somebody_looks() -> None:
    """Within five minutes, in which the meter looks five times, all at once at their limits."""
    settings = Settings.parse({"aws:region": "us-east-1"})
    rows = pricing.bill(surfaces.worst_lines(settings), "us-east-1")
    usd = surfaces.worst_usd_per_hour(rows)
    assert set(usd) == {each.name for each in surfaces.surfaces(settings)}
    unseen = surfaces.unseen_usd_per_hour(settings, rows)
    assert sum(unseen.values()) / 12 < 0.5
    assert set(usd) - set(unseen) == {"the nodes", "the instant lane"}, "the guardian counts them"
    assert usd["preflights, which need no token"] < 0.6
    assert usd["tokens that are refused"] < 1
    rate, per_day = names.CALLER_THROTTLE[0], names.CALLER_REQUESTS_PER_DAY
    assert per_day < rate * 3_600, "a day's requests are gone within an hour"
    one = usd["requests with a good token"] / (callers.KEYS * rate * 3_600) * per_day
    assert one < 0.12, "what one key costs a day"


def test_the_preview_says_what_an_hour_costs_at_most(dev: Recording) -> None:
    said = costs.table(dev.bill, dev.outputs)
    shown = [line for line in said.splitlines() if "$/hour at most" in line]
    assert len(shown) == 6
    fixed = sum(each["usd"] for each in dev.bill if each["per"] == "month")
    assert dev.outputs[costs.FIXED] == pytest.approx(fixed / 1.15, abs=0.01), "and counts none"


def test_the_meter_may_change_the_throttle_of_its_own_stage_alone(dev: Recording) -> None:
    stage = dev.one(kinds.apigateway.STAGE.token)
    statement = iam.throttle_stage(stage.outputs["arn"])
    assert statement["Resource"] == stage.outputs["arn"]
    assert statement["Action"] == ["apigateway:GET", "apigateway:PATCH"]
