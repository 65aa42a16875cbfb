"""docs/access.md does what it says: its commands exist, its policy opens this stack's nodes and
nothing else, and its curl lines work before the node's nginx.
"""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from support.nginx import NGINX, engine, nginx

from components import iam
from local.iam.policy import Policy
from local.node.supervisor import CONFIGURATION
from recording.model import ROOT
from tlfif import names

pytestmark = pytest.mark.story("EC2-005")

PAGE = (ROOT / "docs" / "access.md").read_text()
REGION, ACCOUNT = "eu-west-1", "123456789012"
SHELL = f"arn:aws:ssm:{REGION}:{ACCOUNT}:document/SSM-SessionManagerRunShell"
FORWARD = f"arn:aws:ssm:{REGION}::document/AWS-StartPortForwardingSession"
NODE = f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/i-0123456789abcdef0"
TAGS = {"aws:resourcetag/env": names.ENV_VALUE, "aws:resourcetag/stack": "dev"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def commands() -> Iterator[list[str]]:
    """Every call of the AWS CLI, word by word."""
    for block in blocks("sh"):
        text = block.replace("\\\n", " ")
        for found in re.findall(r"(?<![\w/])aws ((?:'[^']*'|\"\$NODE\"|[^\"')|;\n])+)", text):
            yield shlex.split(found)


def policy() -> Policy:
    """The operator ada's: the evaluator knows no variables."""
    [document] = blocks("json")
    own = document.replace("${aws:username}", "ada").replace("${aws:userid}", "AIDAEXAMPLE")
    return Policy.parse(json.loads(own))


def allowed(action: str, *resources: str, **context: str) -> bool:
    """Whether it is allowed on each of the resources that IAM asks about."""
    asked = {**TAGS, **{f"aws:resourcetag/{key}": value for key, value in context.items()}}
    return all(policy().effect(action, resource, asked) == "Allow" for resource in resources)


def test_every_command_is_one_of_aws() -> None:
    session = botocore.session.get_session()
    asked = list(commands())
    operations = {words[1] for words in asked}
    assert operations >= {"start-session", "get-connection-status", "start-instances"}
    for service, operation, *options in asked:
        name = "".join(word.title() for word in operation.split("-"))
        shape: Any = session.get_service_model(service).operation_model(name).input_shape
        known = {member.lower() for member in shape.members} | {"query", "output", "maxitems"}
        for option in options:
            if option.startswith("--"):
                assert option[2:].replace("-", "") in known, (service, operation, option)


def test_every_command_is_the_operators_to_give() -> None:
    for service, operation, *_ in commands():
        name = "".join(word.title() for word in operation.split("-"))
        resources = [NODE, SHELL, FORWARD] if name == "StartSession" else [NODE]
        assert allowed(f"{service}:{name}", *resources), name


def test_forwarded_ports_are_nginx_and_the_engine() -> None:
    told = [
        json.loads(words[words.index("--parameters") + 1])
        for words in commands()
        if "--parameters" in words
    ]
    assert [each["portNumber"] for each in told] == [["443"], [str(names.MODEL_PORT)]]


@pytest.mark.parametrize("action", ["ssm:StartSession", "ec2:StartInstances", "ec2:StopInstances"])
def test_an_operator_gets_onto_this_stacks_nodes_alone(action: str) -> None:
    assert allowed(action, NODE)
    for other in ({"stack": "prod"}, {"env": "else"}, {"stack": "DEV"}, {"stack": "dev2"}):
        assert not allowed(action, NODE, **other)
    assert policy().effect(action, NODE, {}) is None, "a machine without tags"


def test_an_operator_does_nothing_else() -> None:
    assert not allowed("ec2:StartInstances", NODE, **{names.LATCH_TAG: "2026-11"})
    assert allowed("ec2:StopInstances", NODE, **{names.LATCH_TAG: "2026-11"})
    assert not allowed("ssm:StartSession", FORWARD.replace("PortForwarding", "SSH"))
    assert not allowed("ssm:StartSession", SHELL.replace("SSM-", "Own-"))
    for action in (
        "ssm:SendCommand",
        "ssm:GetParameter",
        "ssm:PutParameter",
        "ssm:UpdateDocument",
        "ec2:CreateTags",
        "ec2:TerminateInstances",
        "ec2:ModifyInstanceAttribute",
        "ec2:AuthorizeSecurityGroupIngress",
        "ec2-instance-connect:SendSSHPublicKey",
        "s3:GetObject",
        "iam:PassRole",
    ):
        assert not allowed(action, NODE), action


@pytest.mark.parametrize("action", ["ssm:TerminateSession", "ssmmessages:OpenDataChannel"])
def test_an_operator_ends_own_sessions_alone(action: str) -> None:
    session = f"arn:aws:ssm:{REGION}:{ACCOUNT}:session/"
    assert allowed(action, f"{session}ada-07a16060613c408b5")
    assert allowed(action, f"{session}AIDAEXAMPLE-07a16060613c408b5")
    assert not allowed(action, f"{session}bob-07a16060613c408b5")


def test_the_operators_conditions_are_the_programs_own() -> None:
    [document] = blocks("json")
    statements = {each["Sid"]: each for each in json.loads(document)["Statement"]}
    started = iam.start_nodes(REGION, ACCOUNT, "dev")
    assert statements["StartTheNodes"]["Condition"] == started["Condition"]
    stopped = iam.stop_nodes(REGION, ACCOUNT, "dev")
    assert statements["StopTheNodes"]["Condition"] == stopped["Condition"]
    assert statements["OpenSessionsOnTheNodes"]["Condition"] == stopped["Condition"]


def test_the_logs_are_where_the_page_looks() -> None:
    conf = RawConfigParser()
    conf.read(CONFIGURATION)
    written = {
        conf[section][key].replace("%%", "%")
        for section in conf.sections()
        for key in ("stdout_logfile", "logfile", "stderr_logfile")
        if key in conf[section]
    }
    assert set(re.findall(r"`(/var/log/tl-fif/[\w.-]+)`", PAGE)) == written
    programs = {
        section.partition(":")[2]
        for section in conf.sections()
        if section.startswith(("program:", "eventlistener:"))
    }
    [row] = [line for line in PAGE.splitlines() if "supervisord.conf status`" in line]
    assert set(re.findall(r"`(\w+)`", row.rpartition("programs:")[2])) == programs


def test_the_unit_can_be_kept_from_powering_off() -> None:
    unit = (ROOT / "gpu_image" / "tl-fif.service").read_text()
    [block] = [each for each in blocks("sh") if "keep.conf" in each]
    for action in ("SuccessAction", "FailureAction"):
        assert f"{action}=poweroff" in unit
        assert f"{action}=none" in block


@pytest.mark.integration
@NGINX
@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_the_curl_lines_work(tmp_path: Path) -> None:
    [block] = [each for each in blocks("sh") if "curl" in each]
    with engine() as model, nginx(tmp_path / "node", model.port) as front:
        model.finish.set()
        script = block.replace("localhost:8443", f"localhost:{front.proxy.port}")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script.replace("curl ", "curl -sS --noproxy '*' ")],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert "first token" in done.stdout
        assert "last token" in done.stdout
        asked = [request.split(b" HTTP")[0] for request in model.requests]
        assert asked == [b"GET /v1/models", b"POST /v1/chat/completions"]
        body = json.loads(model.requests[1].partition(b"\r\n\r\n")[2])
        assert body["model"] == names.DEFAULT_SERVED_MODEL
