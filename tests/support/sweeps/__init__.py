"""Rules for everything that a stack declares: each takes a recording and returns its culprits, by
name and fault.
"""

from support.sweeps import access, data, metrics, network, order, owners, whole
from support.sweeps.access import wildcard_reasons
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
    "metrics",
    "network",
    "order",
    "owners",
    "whole",
    "wildcard_reasons",
]
