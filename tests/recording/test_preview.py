"""The preview: without credentials, the same everywhere, and exact about what changed since a git
revision.
"""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from support.recordings import evaluate
from support.repositories import committed, git

from recording import preview, revision, shipped
from recording.model import ROOT

pytestmark = pytest.mark.integration

BALANCER = [
    "network-balancer-from-vpc  vpc:SecurityGroupIngressRule",
    "network-balancer-group  ec2:SecurityGroup",
    "network-balancer-to-node  vpc:SecurityGroupEgressRule",
    "network-node-from-balancer  vpc:SecurityGroupIngressRule",
    "tls-certificate  acm:Certificate",
    "tls-listener  lb:Listener",
    "tls-nlb  lb:LoadBalancer",
    "tls-node-0  lb:TargetGroupAttachment",
    "tls-nodes  lb:TargetGroup",
    "tls-validation  acm:CertificateValidation",
]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working tree as it is, committed in a repository of its own."""
    folder = tmp_path_factory.mktemp("clone")
    for name in git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    return committed(folder)


def recorded(folder: Path, stack: str, seed: str, result: Path) -> bytes:
    """What the preview's driver makes of a stack in another folder, under another hash seed."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONHASHSEED": seed,
        "PYTHONDONTWRITEBYTECODE": "1",
        shipped.STACKS: shipped.SHIPPED,
    }
    command = [sys.executable, "-c", revision.DRIVER, stack, str(result), revision.EVALUATORS[0]]
    subprocess.run(command, cwd=folder, env=environment, check=True)
    return result.read_bytes()


def test_a_preview_needs_neither_credentials_nor_the_cli_and_takes_seconds() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "recording.preview", "--stack", "prod"]
    environment = {"PATH": "", shipped.STACKS: shipped.SHIPPED}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Processor time, because other tests may be running beside this one.
    assert used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime < 10
    assert "   router  Router\n      router  LambdaFunction\n" in done.stdout
    assert "   api_url: https://" in done.stdout
    assert "queue: 1 valkey node cache.t4g.micro" in done.stdout
    assert " GPU-hours or " in done.stdout
    assert done.stdout.splitlines()[-1].startswith("prod: ")
    assert done.stderr == ""


@pytest.mark.parametrize("stack", ["dev", "literal"])
def test_two_evaluations_in_other_folders_and_hash_seeds_are_identical(
    stack: str, clone: Path, tmp_path: Path
) -> None:
    here = recorded(ROOT, stack, "1", tmp_path / "here")
    assert here == recorded(clone, stack, "2", tmp_path / "there")
    assert revision.loaded(json.loads(here)) == evaluate(stack)


def test_against_the_same_tree_nothing_changed(clone: Path) -> None:
    said = preview.preview("dev", against="HEAD", root=clone).splitlines()
    assert "0 added, 0 changed, 0 replaced, 0 removed; +0.00 $/month (+0.00 €)" in said[-1]
    assert "     the same as before" in said
    assert [line for line in said if line.startswith(("+", "~", "±", "-"))] == []


@pytest.mark.story("EC2-005")
def test_one_key_shows_exactly_the_load_balancer_and_its_price(clone: Path) -> None:
    said = preview.preview(
        "dev", against="HEAD", config=["gpu:tlsIngress=true"], root=clone
    ).splitlines()
    assert sorted(line[2:] for line in said if line.startswith("+ ")) == BALANCER
    changed = [line for line in said if line.startswith(("~", "±", "-"))]
    assert changed == ["~ tariff-document  s3:BucketObjectv2"]
    assert "   +16.43 $/month  TLS balancer" in said
    assert "10 added, 1 changed, 0 replaced, 0 removed; +16.43 $/month (+14.28 €)" in said[-1]
    assert said[-2].startswith("warning: budget:capEur = 20 is below the fixed cost of €2")


def test_a_stack_that_did_not_exist_is_all_new(clone: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    git(tmp_path, "clone", "-q", str(clone), str(copy))
    git(copy, "rm", "-q", "Pulumi.literal.yaml", f"{shipped.SHIPPED}/Pulumi.literal.yaml")
    committed(copy, "no literal stack")
    said = preview.preview("literal", against="HEAD", root=copy)
    assert " 0 changed, 0 replaced, 0 removed; +" in said


def test_a_pull_requests_comment_has_the_changes_and_folds_the_rest(clone: Path) -> None:
    said = preview.preview(
        "dev", against="HEAD", config=["gpu:tlsIngress=true"], markdown=True, root=clone
    )
    assert said.startswith("### dev: ")
    assert "\n> **Warning:** budget:capEur = 20 is below the fixed cost" in said
    assert "```diff\n+ network-balancer-group  ec2:SecurityGroup\n" in said
    assert "| 16.43 | TLS balancer | 730 hours at $0.0225 | (gpu:tlsIngress) |" in said
    assert said.count("<details>") == said.count("</details>") == 2


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            ["--against", "no-such-ref"],
            "error: git archive: fatal: not a valid object name: no-such-ref\n",
        ),
        (["--stack", "test"], "error: there is no stack 'test'; there are: dev, literal, prod\n"),
        (
            ["--config", "tlsIngress"],
            "error: 'tlsIngress' is no group:key=value, such as gpu:tlsIngress=true\n",
        ),
        (["--config", "pagerDutyUrl:https://x"], "error: [hidden] is no group:key=value"),
        (
            ["--config", "alerts:pagerDutyUrl=[https://x"],
            "error: alerts:pagerDutyUrl = [hidden] is no value: put it in quotes\n",
        ),
        (["--config", "gpu:domain=[x"], "error: gpu:domain = '[x' is no value: line 1, "),
        (["--config", "slackWebhookUrl=x"], "error: 'slackWebhookUrl' is no group:key=value"),
        (
            ["--config", "gpu:tls=true"],
            "error: gpu:tls = True: no such key. Did you mean gpu:tlsIngress? Known keys:",
        ),
    ],
)
def test_what_cannot_be_previewed_is_one_line(
    arguments: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert preview.main(arguments) == 1
    assert capsys.readouterr().err.startswith(error)
