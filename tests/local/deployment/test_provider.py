"""The provider's own parts: names, secrets, and the journal of what it made."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from local.deployment.provider import naming
from local.deployment.provider.journal import Journal, remove_orphans
from local.deployment.provider.values import UNKNOWN, plain, secrets_of, struct
from recording import kinds

TARGET_GROUP = kinds.lb.TARGET_GROUP


def _request(proposed: str) -> Any:
    return SimpleNamespace(autonaming=SimpleNamespace(proposed_name=proposed))


def test_the_engine_proposes_a_name_and_the_resource_keeps_it() -> None:
    given, failure = naming.named(TARGET_GROUP, {"port": 443}, {}, _request("tl-fif-dev-nodes-1"))
    assert (given["name"], failure) == ("tl-fif-dev-nodes-1", None)
    kept, _ = naming.named(TARGET_GROUP, {"port": 80}, given, _request("tl-fif-dev-nodes-2"))
    assert kept["name"] == "tl-fif-dev-nodes-1"


@pytest.mark.parametrize(
    ("name", "reason"),
    [("n" * 33, "has 33 characters; AWS allows 32"), ("nodes_1", "is not ")],
)
def test_a_name_that_aws_would_refuse_fails_with_its_property(name: str, reason: str) -> None:
    _, failure = naming.named(TARGET_GROUP, {"name": name}, {}, _request(""))
    assert failure is not None
    assert failure["property"] == "name"
    assert reason in failure["reason"]


def test_a_name_that_is_known_only_later_is_judged_later() -> None:
    assert naming.named(TARGET_GROUP, {"name": UNKNOWN}, {}, _request("")) == (
        {"name": UNKNOWN},
        None,
    )


def test_a_type_without_a_name_gets_none() -> None:
    assert naming.named(kinds.ec2.ROUTE, {"gatewayId": "igw"}, {}, _request("x"))[0] == {
        "gatewayId": "igw"
    }


def test_secrets_are_read_in_clear_and_marked_again_with_all_around_them() -> None:
    marked = struct({"endpoint": "https://x", "tags": {"a": "b"}, "port": 443}, {"endpoint"})
    assert secrets_of(marked) == {"endpoint"}
    assert plain(marked) == {"endpoint": "https://x", "tags": {"a": "b"}, "port": 443}
    inside = struct({"environment": plain(marked) | {"inner": 1}}, {"environment"})
    assert secrets_of(struct({"outer": inside})) == {"outer"}


def test_what_nobody_heard_of_is_removed_newest_first_and_only_once(tmp_path: Path) -> None:
    path = tmp_path / "made.jsonl"
    journal = Journal(path)
    for number in range(3):
        journal.made("aws:ec2/vpc:Vpc", f"vpc-{number}", {"cidrBlock": "10.0.0.0/16"})
    journal.close()
    with path.open("a") as file:
        file.write('{"type": "aws:ec2/vp')  # as a process leaves it that is killed in a write
    removed: list[str] = []
    for _ in range(2):
        remove_orphans(
            path,
            {("aws:ec2/vpc:Vpc", "vpc-1")},
            lambda type_, id_, outputs: removed.append(f"{id_} {outputs['cidrBlock']}"),
        )
    assert removed == ["vpc-2 10.0.0.0/16", "vpc-0 10.0.0.0/16"]
