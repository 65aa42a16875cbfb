"""Versions of the router deployed into a local cloud, whose callers see which of them serves."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from botocore.exceptions import ClientError
from support.delivering import ANSWERS, FAILS_CALLERS, RAISES_FOR_CALLERS, Site

from components.packages import BundleError
from recording.model import ROOT
from tlfif.names import ALIAS, SLACK_PARAMETER
from tools.delivery import deploy
from tools.delivery.shifting import Stopped

pytestmark = [pytest.mark.integration, pytest.mark.story("CI-004")]
TRACED = "    import os\n    print(os.environ['_X_AMZN_TRACE_ID'])\n"
QUICK = ("--minutes", "0", "--seconds-per-minute", "0.02")


@contextmanager
def slack(site: Site) -> Iterator[list[str]]:
    """The stack's webhook, and what it hears."""
    heard: list[str] = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append(json.loads(body)["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Webhook)
    threading.Thread(target=server.serve_forever).start()
    ssm, name = site.cloud.moto.client("ssm"), f"{SLACK_PARAMETER}-dev"
    url = f"http://127.0.0.1:{server.server_port}/secret"
    ssm.put_parameter(Name=name, Value=url, Type="SecureString")
    try:
        yield heard
    finally:
        ssm.delete_parameter(Name=name)
        server.shutdown()
        server.server_close()


def test_this_commits_router_is_deployed_once(site: Site) -> None:
    """The real one, from its bundle; the alias is at `$LATEST` after the very first `pulumi up`."""
    code, said = site.command(deploy.main, "--no-cost", *QUICK)
    assert code == 0, said
    version, weights = site.serving
    assert (version.isdigit(), weights) == (True, {})
    code, said = site.command(deploy.main, "--no-cost", *QUICK)
    assert (code, site.serving) == (0, (version, {}))
    assert f"tl-fif dev: version {version} serves; nothing to deploy" in said
    with site.callers() as seen:
        site.hear(seen)
    assert {status for status, _ in seen} == {200}


def test_a_good_version_gets_a_part_then_all_and_everybody_hears_of_it(site: Site) -> None:
    site.deploy(ANSWERS % "old", *QUICK)
    old, _ = site.serving
    with site.callers() as seen, slack(site) as heard:
        code, said = site.deploy((ANSWERS % "new").replace("    return", TRACED + "    return"))
        assert code == 0, said
        new, weights = site.serving
        site.hear_from_now(seen)
    assert (int(new), weights) == (int(old) + 1, {})
    # Nobody's request failed, and by now all get the new one.
    assert set(seen) == {(200, "new")}
    assert f"version {new} gets 50 % for 2 min" in said
    assert "the integration test: /ping and /queue-health are ok from the VPC" in said
    (text,) = heard
    assert text.startswith(f"tl-fif dev: version {new} serves, after version {old}\n- commit ")
    assert f"a call of version {new}: https://us-east-1.console.aws.amazon.com/" in text
    assert text in said
    # The call that it links to was traced by the id that the deployment chose.
    trace = text.partition("#xray:traces/")[2].split()[0]
    assert any(f"Root={trace};" in line for _, line in site.cloud.logs)
    exported = deploy.EXPORTED.read_text()
    assert exported == f"VERSION={new}\nPREVIOUS_VERSION={old}\n"


@pytest.mark.parametrize(
    ("code", "alarm"), [(FAILS_CALLERS, "api-errors"), (RAISES_FOR_CALLERS, "router-errors")]
)
def test_one_that_fails_its_callers_loses_them_again(site: Site, code: str, alarm: str) -> None:
    site.deploy(ANSWERS % "old", *QUICK)
    old = site.serving
    with site.callers() as seen:
        ended, said = site.deploy(code, "--minutes", "10")
        assert ended == 1, said
        assert site.serving == old
        assert "deployment FAILED" in said
        assert alarm in said
        during = dict(seen)
        site.hear_from_now(seen)
    assert {status // 100 for status, _ in during} == {2, 5}
    assert set(seen) == {(200, "old")}
    # The alarms calm down before the next.
    site.until_calm()


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("raise RuntimeError('no such thing')", "RuntimeError: no such thing"),
        ("import no_such_module", "No module named"),
        ("import os\nos.environ['TLFIF_UNTOLD']", "TLFIF_UNTOLD"),
        ("def handler(event, context):\n    return {'statusCode': 503}", "it answered 503"),
        ("def handler(event, context):\n    return None", "no statusCode"),
    ],
)
def test_one_that_does_not_answer_itself_gets_no_traffic(site: Site, code: str, why: str) -> None:
    before, versions = site.serving, site.versions
    ended, said = site.deploy(code)
    assert (ended, site.versions) == (1, versions)
    assert "is bad: " in said
    assert why in said
    assert site.serving == before


def test_an_alias_that_anybody_moved_is_followed_within_a_second(site: Site) -> None:
    site.deploy(ANSWERS % "one", *QUICK)
    site.deploy(ANSWERS % "two", *QUICK)
    version, _ = site.serving
    # Past the endpoint, which would have seen it.
    moto = site.cloud.moto.client("lambda")
    moto.update_alias(
        FunctionName=site.name,
        Name=ALIAS,
        FunctionVersion=str(int(version) - 1),
        RoutingConfig={"AdditionalVersionWeights": {version: 0.25}},
    )
    time.sleep(0.6)
    with site.callers() as seen:
        site.hear(seen, 16)
    # Evenly spread, as it is in the long run.
    assert {answer for _, answer in seen} == {"one", "two"}
    assert seen[200, "two"] == pytest.approx(seen.total() / 4, abs=2)
    for qualifier, answer in ((version, b"two"), ("$LATEST", b"two"), ("prod", b"one")):
        called = site.lambda_.invoke(FunctionName=site.name, Qualifier=qualifier, Payload=b"{}")
        assert answer in called["Payload"].read() or qualifier == "prod"
        assert called["ExecutedVersion"] in (qualifier, version, str(int(version) - 1))
    with pytest.raises(site.lambda_.exceptions.ResourceNotFoundException):
        site.lambda_.invoke(FunctionName=site.name, Qualifier="999", Payload=b"{}")
    site.rollback("--version", version)


def test_seven_deployments_leave_five_versions_and_the_one_in_use(site: Site) -> None:
    for number in range(7):
        code, said = site.deploy(ANSWERS % f"v{number}", *QUICK)
        assert code == 0, said
    version, _ = site.serving
    assert site.versions == [str(int(version) - back) for back in range(5, -1, -1)]
    # Numbers are not given twice: what is gone is gone.
    assert site.rollback()[0] == 0
    assert site.serving == (str(int(version) - 1), {})
    with site.callers() as seen:
        site.hear(seen)
    assert set(seen) == {(200, "v5")}
    site.rollback("--version", version)
    assert site.serving == (version, {})
    code, said = site.rollback("--version", "1")
    assert (code, site.serving) == (1, (version, {}))
    assert f"the function {site.name} has no version 1; there are: " in said
    # As the smoke test does: the one that proved bad is gone.
    before = str(int(version) - 1)
    code, said = site.rollback("--version", before, "--from", version)
    assert (code, site.serving) == (0, (before, {})), said
    assert version not in site.versions
    code, said = site.rollback("--version", before, "--from", version)
    assert (code, site.serving) == (0, (before, {}))
    assert f"nothing is rolled back: the alias does not name version {version}" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_ended_in_its_canary(site: Site, number: int) -> None:
    """By SIGTERM it takes the traffic back itself; after SIGKILL the next one does."""
    site.deploy(ANSWERS % "old", *QUICK)
    old, _ = site.serving
    zipped = str(site.bundle(ANSWERS % f"killed {number}"))
    command = [sys.executable, "-m", "tools.delivery.deploy", *site.arguments("--no-cost")]
    process = subprocess.Popen(
        [*command, "--bundle", zipped, "--minutes", "30"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        site.until(lambda: bool(site.serving[1]), "a shift of traffic")
        process.send_signal(number)
        said, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    failed = str(int(old) + 1)
    if number == signal.SIGTERM:
        assert failed not in site.versions
        assert process.returncode == 1
        assert "deployment FAILED: stopped by SIGTERM" in said
        assert f"version {old} alone serves" in said
    else:
        assert (site.serving[0], [*site.serving[1].values()]) == (old, [0.5])
        code, said = site.deploy(ANSWERS % "old", *QUICK)
        assert code == 0
        assert f"a deployment was never finished (version {old}, 50% of it version" in said
    assert site.serving == (old, {})


@pytest.mark.parametrize(
    ("more", "outputs", "message"),
    [
        (("--percent", "60"), {}, "CANARY_PERCENT = 60: it is a number from 1 to 50"),
        (("--minutes", "soon"), {}, "CANARY_MINUTES = soon: it is a number from 0 to 30"),
        (("--target", "arm"), {}, "TLFIF_BUNDLE_TARGET = arm: it is lambda, or host"),
        (("--bundle", "/no.zip"), {}, "/no.zip: No such file or directory; build one first"),
        ((), {"pipeline_name": None}, "stack dev has no pipeline: there `pulumi up` deploys"),
        ((), {"router_arn": None}, "stack dev has no output router_arn; is it deployed?"),
        ((), {"router_arn": "arn:aws:lambda:us-east-1:123456789012:function:no"}, "no alias prod"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    site: Site, more: tuple[str, ...], outputs: dict[str, Any], message: str
) -> None:
    site.changed = outputs
    before = site.serving
    with slack(site) as heard:
        code, said = site.command(deploy.main, *more)
    site.changed = {}
    assert (code, said.count("\n"), site.serving) == (1, 1, before)
    assert said.startswith("tl-fif: ")
    assert message in said
    # Slack hears of it too, where anybody knows which stack it is.
    why = said.strip().removeprefix("tl-fif: ")
    known = outputs != {"router_arn": None}
    failed = "tl-fif dev: deployment FAILED before any traffic was shifted: "
    assert heard == ([failed + why] if known else [])


def test_without_a_pipeline_a_rollback_says_what_pulumi_does_next(site: Site) -> None:
    site.deploy(ANSWERS % "one", *QUICK)
    site.deploy(ANSWERS % "two", *QUICK)
    site.changed = {"pipeline_name": None}
    code, said = site.rollback()
    site.changed = {}
    assert code == 0
    assert "the stack has no pipeline: its next `pulumi up`" in said


@pytest.mark.parametrize(
    ("fails", "why"),
    [
        (BundleError("python3.12 is missing"), "python3.12 is missing"),
        (
            ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetAlias"),
            "AWS does not do it: An error occurred (AccessDenied)",
        ),
        (Stopped("stopped by SIGTERM"), "stopped by SIGTERM, before any traffic was shifted"),
    ],
)
def test_slack_hears_of_a_deployment_that_ends_before_its_shift(
    site: Site, monkeypatch: pytest.MonkeyPatch, fails: BaseException, why: str
) -> None:
    def fail(target: str) -> None:
        raise fails

    monkeypatch.setattr(deploy, "_bundle", fail)
    heard_before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    with slack(site) as heard:
        assert site.command(deploy.main)[0] == 1
    assert len(heard) == 1
    assert heard[0].startswith("tl-fif dev: deployment FAILED before any traffic was shifted: ")
    assert why in heard[0]
    assert {each: signal.getsignal(each) for each in heard_before} == heard_before


def test_a_signal_during_the_summary_ends_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(stack: str, region: str, text: str) -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        return ""

    site.deploy(ANSWERS % "old", *QUICK)
    monkeypatch.setattr(deploy.summary, "tell", interrupted)
    code, said = site.deploy(ANSWERS % "interrupted", *QUICK)
    assert code == 0, said
    with site.callers() as seen:
        site.hear(seen)
    assert (200, "interrupted") in seen
