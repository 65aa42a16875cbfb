"""The component base: every component derives from it, and what it makes counts what it costs."""

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pulumi

import components
from components.component import Component
from components.private_bucket import PrivateBucket
from components.rest_api import RestApi
from recording import kinds
from recording.model import Recording


def classes() -> Iterator[type[pulumi.ComponentResource]]:
    """Every component class of components/."""
    for path in sorted(Path(components.__file__).parent.glob("*.py")):
        module = importlib.import_module(f"components.{path.stem}")
        for _, each in inspect.getmembers(module, inspect.isclass):
            if issubclass(each, pulumi.ComponentResource) and each.__module__ == module.__name__:
                yield each


def test_every_component_derives_from_the_base() -> None:
    assert [each.__name__ for each in classes() if not issubclass(each, Component)] == []


def test_a_components_type_is_its_class_name(literal: Recording) -> None:
    declared = {r.type for r in literal.resources if not r.custom}
    named = {f"tl-fif:components:{each.__name__}" for each in classes()}
    bases = {f"tl-fif:components:{each.__name__}" for each in (Component, PrivateBucket, RestApi)}
    assert declared - {"pulumi:pulumi:Stack"} == named - bases


def test_a_childs_logical_name_begins_with_its_components(literal: Recording) -> None:
    stray = [
        r.name
        for r in literal.resources
        if r.custom and not r.name.startswith(r.parent.rpartition("::")[2])
    ]
    assert stray == []


def test_every_alarm_has_a_line_of_its_own(literal: Recording) -> None:
    alarms = literal.of_type(kinds.monitoring.METRIC_ALARM.token)
    lines = [row["what"] for row in literal.bill if row["item"] == "alarm"]
    assert len(set(lines)) == len(lines) == len(alarms)
