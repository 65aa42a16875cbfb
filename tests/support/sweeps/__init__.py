"""Rules for everything that a stack declares: each takes a recording and returns its culprits, by
name and fault.
"""

from support.sweeps import (
    access,
    data,
    functions,
    instances,
    metrics,
    network,
    order,
    owners,
    refusals,
    whole,
)
from support.sweeps.access import wildcard_reasons
from support.sweeps.instances import keys_of_create_tags, power_cycled_by, tags_set_by_code
from support.sweeps.network import nodes_are_reached_by_the_balancer_alone
from support.sweeps.rule import SWEEPS, Sweep
from support.sweeps.whole import clashes

from components.billed import ALARM, DASHBOARD

__all__ = [
    "ALARM",
    "DASHBOARD",
    "SWEEPS",
    "Sweep",
    "access",
    "clashes",
    "data",
    "functions",
    "instances",
    "keys_of_create_tags",
    "metrics",
    "network",
    "nodes_are_reached_by_the_balancer_alone",
    "order",
    "owners",
    "power_cycled_by",
    "refusals",
    "tags_set_by_code",
    "whole",
    "wildcard_reasons",
]
