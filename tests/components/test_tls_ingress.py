"""The TLS balancer in front of nodes that are stopped most of the time."""

import re

import pytest
from support.program import INSTANCE

from local.node import proxy
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


@pytest.mark.story("EC2-005")
def test_tls_ends_at_the_balancer_with_acms_certificate_and_begins_again(
    literal: Recording,
) -> None:
    listener = literal.one(kinds.lb.LISTENER.token).inputs
    assert (listener["port"], listener["protocol"]) == (443, "TLS")
    assert "TLS13-1-2" in listener["sslPolicy"]
    certificate = literal.one(kinds.lb.CERTIFICATE.token)
    assert listener["certificateArn"] == certificate.outputs["arn"]
    assert certificate.inputs["domainName"] == "gpu.example.com"
    group = literal.one(kinds.lb.TARGET_GROUP.token).inputs
    assert (group["port"], group["protocol"]) == (443, "TLS")


@pytest.mark.story("EC2-005")
def test_a_node_is_well_when_nginx_reaches_its_engine(literal: Recording) -> None:
    check = literal.one(kinds.lb.TARGET_GROUP.token).inputs["healthCheck"]
    assert (check["protocol"], check["port"], check["matcher"]) == ("HTTPS", "443", "200")
    configuration = proxy.CONFIGURATION.read_text()
    assert f"location = {check['path']} {{" in configuration
    protocols = re.search(r"ssl_protocols ([^;]+);", configuration)
    assert protocols
    assert "TLSv1.2" in protocols[1].split(), "what the balancer checks by"
    # The balancer cuts off a connection that is silent for 350 s.
    read_timeout = re.search(r"proxy_read_timeout (\d+)s;", configuration)
    assert read_timeout
    assert int(read_timeout[1]) < 350
