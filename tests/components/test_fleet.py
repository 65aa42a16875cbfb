"""Several nodes: in several zones, on demand or spot, and what an upgrade does to them."""

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
from support import sweeps
from support.program import INSTANCE, evaluate, statements

from components import prices
from components.settings import Settings
from recording import kinds
from recording.differences import diff
from recording.invented import RecordingBackend
from recording.model import Recording
from tlfif.money.documents import Tariff

pytestmark = pytest.mark.story("LAM-004")


class Zones(RecordingBackend):
    """A region in which only these zones offer the nodes' type."""

    def __init__(self, letters: str) -> None:
        super().__init__("dev", "us-east-1")
        self._letters = letters

    def zones_offering(self, question: Mapping[str, Any]) -> list[str]:
        return [f"us-east-1{letter}" for letter in self._letters]


@cache
def fleet(zones: str = "", **gpu: Any) -> Recording:
    """Where four zones offer the type, or only these do."""
    return evaluate("dev", Zones(zones) if zones else None, config={"tl-fif:gpu": gpu})


def subnets(recording: Recording) -> list[dict[str, Any]]:
    """The nodes', in order."""
    found = sorted(recording.of_type(kinds.ec2.SUBNET.token), key=lambda r: r.inputs["cidrBlock"])
    return [{**each.inputs, "id": each.id} for each in found if "-node-" in each.name]


@pytest.mark.parametrize(("zones", "used"), [("", "abc"), ("a", "a")])
def test_nodes_are_in_up_to_three_zones_in_turns(zones: str, used: str) -> None:
    recording = fleet(zones, count=4)
    there = subnets(recording)
    assert [each["availabilityZone"] for each in there] == [f"us-east-1{zone}" for zone in used]
    assert [each["cidrBlock"] for each in there] == [
        "10.20.2.0/24",
        "10.20.3.0/25",
        "10.20.3.128/25",
    ][: len(used)]
    assert all(each["mapPublicIpOnLaunch"] for each in there)
    nodes = [recording.one(INSTANCE, f"gpu-node-{number}").inputs for number in range(4)]
    ids = [each["id"] for each in there]
    assert [each["subnetId"] for each in nodes] == [ids[n % len(ids)] for n in range(4)]


def test_every_zone_has_the_way_out_and_the_endpoint_of_s3() -> None:
    recording = fleet(count=4)
    table = recording.one(kinds.ec2.ROUTE_TABLE.token, "network-public-routes").id
    joined = recording.of_type(kinds.ec2.ROUTE_TABLE_ASSOCIATION.token)
    public = {each.inputs["subnetId"] for each in joined if each.inputs["routeTableId"] == table}
    assert public == {each["id"] for each in subnets(recording)}
    assert table in recording.one(kinds.ec2.VPC_ENDPOINT.token).inputs["routeTableIds"]


def test_more_zones_replace_nothing_that_there_is_and_cost_nothing() -> None:
    """As an upgrade from one subnet for all nodes, to one in each zone."""
    before, after = fleet("a", count=4), fleet(count=4)
    old, new = ({each.urn: each for each in side.resources} for side in (before, after))
    assert old.keys() <= new.keys()
    added = {new[urn].name for urn in new.keys() - old.keys()}
    assert added == {
        f"network-{name}"
        for number in (1, 2)
        for name in (f"node-{number}-subnet", f"public-association-{number}")
    }
    changed = {
        (new[urn].name, each.path) for urn in old for each in diff(old[urn].inputs, new[urn].inputs)
    }
    # What the program would make of others now is ignored.
    assert changed == {("gpu-node-1", "subnetId"), ("gpu-node-2", "subnetId")}
    assert "subnetId" in after.one(INSTANCE, "gpu-node-1").ignore_changes
    assert after.outputs["cost_fixed_monthly_eur"] == before.outputs["cost_fixed_monthly_eur"]


def test_the_balancer_is_in_the_zones_of_the_nodes() -> None:
    recording = fleet(count=2, tlsIngress=True)
    balancer = recording.one("aws:lb/loadBalancer:LoadBalancer").inputs
    assert balancer["subnets"] == [each["id"] for each in subnets(recording)][:2]


def test_a_spot_node_is_stopped_and_not_deleted_when_ec2_takes_it_back() -> None:
    on_demand, spot = fleet(), fleet(spot=True)
    assert "instanceMarketOptions" not in on_demand.one(INSTANCE).inputs
    node = spot.one(INSTANCE, "gpu-node-spot-0")
    assert node.inputs["instanceMarketOptions"] == {
        "marketType": "spot",
        "spotOptions": {
            "spotInstanceType": "persistent",
            "instanceInterruptionBehavior": "stop",
        },
    }
    assert node.inputs["instanceInitiatedShutdownBehavior"] == "stop"
    assert sweeps.power_cycled_by(on_demand.one(INSTANCE), node) == []
    own = statements(spot, "gpu-node-spot-0-stop-self")["StopSelf"]
    assert own["Resource"] == node.outputs["arn"]


def test_to_and_from_spot_each_node_is_another_one() -> None:
    """By its name: the provider sees no difference when the options go."""
    urns = {each.one(INSTANCE).urn for each in (fleet(), fleet(spot=True))}
    assert len(urns) == 2


def test_the_cap_counts_what_a_spot_node_may_cost_at_most() -> None:
    on_demand, spot = fleet(), fleet(spot=True)
    told = [hourly(each) for each in (on_demand, spot)]
    assert told[0] == told[1]
    hours = [each.outputs["cost_gpu_hours_left"] for each in (on_demand, spot)]
    assert hours[0] == hours[1]
    assert "cost_spot_hours_left" not in on_demand.outputs
    assert spot.outputs["cost_spot_hours_left"] > 2 * hours[0]
    settings = Settings.parse({"aws:region": "us-east-1", "tl-fif:gpu": {"spot": True}})
    eur = told[0] / settings.costs.usd_per_eur
    assert eur == pytest.approx(settings.gpu_eur_per_hour, abs=1e-4)


def hourly(recording: Recording) -> float:
    """What the functions that count money are told of a node's hour, in USD."""
    [told] = [each for each in recording.resources if each.name == "tariff-document"]
    return Tariff.parse(told.inputs["content"]).gpu_usd_per_hour


@pytest.mark.parametrize("instance_type", sorted(prices.VCPUS))
def test_every_type_has_an_estimate_as_spot_below_its_price(instance_type: str) -> None:
    for region, usual in prices.PRICES[instance_type].items():
        spot = prices.PRICES[prices.spot_item(instance_type)][region]
        assert 0.2 * usual.usd < spot.usd < usual.usd
        assert (spot.mark, "estimate" in spot.source) == ("L", True)


def test_spot_has_a_quota_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    class Account(RecordingBackend):
        def call(self, args: Any) -> dict[str, Any]:
            if "getServiceQuota" not in args.token:
                return super().call(args)
            return {**args.args, "value": 32 if args.args["quotaCode"] == "L-DB2E81BA" else 0}

    with caplog.at_level(logging.WARNING):
        config = {"tl-fif:gpu": {"spot": True}}
        evaluate("dev", Account("dev", "us-east-1"), config=config)
    [warning] = [each.message for each in caplog.records if "vCPU" in each.message]
    assert "may run 0 of G and VT spot requests" in warning
    assert "--quota-code L-3819A6DF --desired-value 4" in warning
