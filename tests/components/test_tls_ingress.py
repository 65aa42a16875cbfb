"""The TLS balancer in front of nodes that are stopped most of the time."""

import pytest
from support.program import INSTANCE

from recording import kinds
from recording.model import Recording


@pytest.mark.story("EC2-005")
def test_nodes_are_registered_by_address_for_they_are_stopped(literal: Recording) -> None:
    group = literal.one(kinds.lb.TARGET_GROUP.token)
    assert group.inputs["targetType"] == "ip", "an instance can be registered only while it runs"
    node = literal.one(INSTANCE)
    attached = literal.of_type(kinds.lb.TARGET_GROUP_ATTACHMENT.token)
    assert [each.inputs["targetId"] for each in attached] == [node.outputs["privateIp"]]
    assert group.inputs["preserveClientIp"] == "false", "nodes let in the balancer alone"
