"""Names within AWS's limits, whatever the stack is called."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import sweeps
from support.program import evaluate

from components.naming import LIMITS, check_stack, fitted
from components.settings_errors import SettingsError
from recording import evaluate as program
from recording import kinds
from recording.kinds import KINDS
from recording.model import ROOT, Recording
from recording.shipped import stack_file

LIMIT = 21


@pytest.mark.parametrize("name", ["tl-fif-dev", "tl-fif-literal", "x" * LIMIT])
def test_a_name_that_fits_stays(name: str) -> None:
    assert fitted(name, LIMIT) == name


def test_a_name_too_long_is_cut_the_same_way_and_apart_from_its_neighbours() -> None:
    names = [f"tl-fif-production-of-{where}" for where in ("europe", "africa")]
    cut = [fitted(name, LIMIT) for name in names]
    assert cut == [fitted(name, LIMIT) for name in names]
    assert len(set(cut)) == 2
    assert all(len(name) <= LIMIT and name.startswith("tl-fif-produc") for name in cut)


def test_a_cut_leaves_no_two_hyphens() -> None:
    assert "--" not in fitted("tl-fif-develop-environment", LIMIT)


# --- stacks of any name

EVERYTHING = {
    "tl-fif:gpu": {"count": 8},
    "tl-fif:queue": {"replicas": 5},
    "tl-fif:alerts": {"email": "me@example.com"},
}
STACKS = ("dev", "eu-west-1a", "production-of-europe", "1-stack-name-of-40-letters-and-of-digits")
# The default probe's function, and the literal stack's balancer, canary and private API.
OPTIONS = {"dev": EVERYTHING, "literal": EVERYTHING}


def named(folder: Path, stack: str, like: str) -> Recording:
    """The program's recording for a stack of this name, with every option of another on."""
    for name in ("__main__.py", "Pulumi.yaml"):
        shutil.copy(ROOT / name, folder)
    config: dict[str, Any] = yaml.safe_load(stack_file(like).read_text())
    (folder / f"Pulumi.{stack}.yaml").write_text(yaml.safe_dump(config))
    return program.evaluate(stack, project_dir=folder, config=OPTIONS[like])


def test_stacks_of_every_length_are_tried() -> None:
    assert [len(stack) for stack in STACKS] == [3, 10, 20, 40]


@pytest.mark.story("OPS-003", "EC2-005")
@pytest.mark.parametrize(
    ("stack", "like"), [*((stack, "literal") for stack in STACKS), (STACKS[-1], "dev")]
)
def test_a_stack_of_any_name_is_one_that_aws_takes(tmp_path: Path, stack: str, like: str) -> None:
    recording = named(tmp_path, stack, like)
    for rule in (
        sweeps.refusals.names_are_such_as_aws_takes,
        sweeps.refusals.tags_are_such_as_aws_takes,
        sweeps.refusals.values_are_such_as_the_reference_says,
        sweeps.refusals.values_are_such_as_the_api_models_say,
    ):
        assert rule(recording) == []
    assert sweeps.clashes(recording, evaluate("literal")) == []


def test_a_name_that_fits_is_left_to_pulumi(tmp_path: Path) -> None:
    recording = named(tmp_path, "develop", "literal")
    ours = [r.name for r in recording.resources if r.type in LIMITS and "name" in r.inputs]
    assert ours == []
    longer = named(tmp_path, "develope", "literal").one(kinds.lb.TARGET_GROUP.token)
    assert longer.inputs["name"].startswith("tl-fif-develope-tls-nodes-")


def test_a_target_group_that_is_replaced_gets_another_name() -> None:
    one, other = (fitted("tl-fif-production-tls-nodes", 26, f"{port} TLS") for port in (443, 444))
    assert one != other


def test_the_limits_are_those_of_the_kinds() -> None:
    assert {kind: limit.length for kind, limit in LIMITS.items()} == {
        kind: KINDS[kind].name_limit for kind in LIMITS
    }


def test_the_limits_are_of_pulumis_own_pattern() -> None:
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    pattern = project["config"]["pulumi:autonaming"]["value"]["pattern"]
    assert pattern == "${project}-${stack}-${name}-${hex(7)}"


@pytest.mark.parametrize("stack", ["Prod", "my_stack", "v1.2", "a--b", "-a", "a-", "a" * 41, ""])
def test_a_stack_that_no_shortening_helps_is_refused_by_name(stack: str) -> None:
    with pytest.raises(SettingsError, match=r"stack = '.*': .*pulumi stack rename") as refused:
        check_stack(stack)
    assert repr(stack) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("stack", STACKS)
def test_other_stacks_are_not(stack: str) -> None:
    check_stack(stack)


def test_the_program_refuses_it_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="stack = 'Prod_1': its name is part of the names"):
        named(tmp_path, "Prod_1", "dev")
