"""`make smoke`: a prompt to a deployed stack, by the headless client, and its reply within 120 s.

What it says and got is left in dist/smoke, and in the pipeline's bucket where there is one, also
when it failed. A reply that took longer than 90 s makes the stack unstable and is no failure.

0: there was a reply in time; 1: there was none; 3: nobody can say, by no fault of the router's, as
when the budget is spent, there is no capacity, or nobody could sign in. With `--version` nothing is
tried unless callers get that version alone.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from components.naming import stack_name
from recording.model import ROOT
from tlfif.names import ALIAS, METRIC_SMOKE_UNSTABLE, NAMESPACE_DELIVERY, SMOKE_PARAMETER
from tools.calling import region_of
from tools.delivery import proved
from tools.delivery import summary as slack
from tools.delivery.store import upload
from tools.outputs import amount, stack_outputs, stack_parser, whole
from tools.posting import NOT_ITS_FAULT, Posting
from tools.stage import CANNOT_SAY, StageError, UnjudgedError, client, ended, parameter

NEEDED = ("api_url", "user_pool_id", "user_pool_client_id")
PROMPT = "What is the capital of France? Answer in one sentence."
FOLDER = ROOT / "dist/smoke"
# CI-005's limits: seconds from the first post to the whole reply.
LIMIT_S, UNSTABLE_S = 120.0, 90.0
PASSED, UNSTABLE, FAILED, UNJUDGED = "passed", "unstable", "failed", "unjudged"
_CODES = {PASSED: 0, UNSTABLE: 0, FAILED: 1, UNJUDGED: CANNOT_SAY}
POLL_S = 0.1
# How the client says what the API answered.
_REFUSAL = re.compile(r"\d{3} (\w+):")
# Its exit codes (docs/api.md).
_CLIENT_ENDS = {
    1: "the job did not end as done",
    2: "the client cannot use what it was told",
    3: "the API refused",
}
_NOBODY = "nobody answered as the API does"


@dataclass(kw_only=True)
class Summary:
    """What came of it, as summary.json has it; `seconds` is None while there is no reply."""

    stack: str
    commit: str
    began: str
    prompt: str
    outcome: str = FAILED
    why: str = ""
    seconds: float | None = None
    job: str = ""
    posts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def line(self) -> str:
        """All of it in one line."""
        took = "" if self.seconds is None else f" after {self.seconds:.1f} s"
        why = f": {self.why}" if self.why else ""
        return f"smoke test of {self.stack} at {self.commit[:12]} {self.outcome}{took}{why}"


def main() -> int:
    """0 when there was a reply in time, 1 with one line of error, 3 when nobody can say."""
    # As when a person interrupts it: whoever stops a build sends this.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return ended(lambda: _smoke(parse()))


def parse() -> argparse.Namespace:
    """The command line; argparse ends the process when it is wrong."""
    parser = stack_parser("python -m tools.delivery.smoke", __doc__, "which")
    parser.add_argument("--version", help="the router's version that is tried (default: any)")
    parser.add_argument("--prompt", default=PROMPT)
    seconds = "s until there must be the reply (default and most: %(default)g)"
    parser.add_argument("--limit", type=amount, default=LIMIT_S, help=seconds)
    late = "s after which it was too slow, and no failure (default: %(default)g)"
    parser.add_argument("--unstable", type=amount, default=UNSTABLE_S, help=late)
    posts = "how often the prompt is posted, for traces of a warm router (default: %(default)s)"
    # Of fewer than twenty, one outlier is the p95.
    parser.add_argument("--posts", type=whole, default=20, help=posts)
    every = "s between two posts; a user may post 20 times a minute (default: %(default)g)"
    parser.add_argument("--every", type=amount, default=3.2, help=every)
    given = parser.parse_args()
    if not 0 < given.unstable < given.limit <= LIMIT_S:
        parser.error(
            f"--unstable {given.unstable:g} --limit {given.limit:g}: the first is the smaller, and "
            f"neither is more than {LIMIT_S:g}"
        )
    return given


def _smoke(given: argparse.Namespace) -> int:
    needed = (*NEEDED, "router_arn") if given.version else NEEDED
    outputs = stack_outputs(given.stack, given.outputs, needed, "make smoke")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for left in FOLDER.iterdir():
        left.unlink()
    now = datetime.now(UTC)
    summary = Summary(
        stack=given.stack,
        commit=slack.commit()[0],
        began=now.isoformat(timespec="seconds"),
        prompt=given.prompt,
    )
    try:
        _require(given.version, outputs)
        _run(given, outputs, summary)
        _require(given.version, outputs)
    # AWS is asked who signs in and what serves; the router by the client alone.
    except (UnjudgedError, BotoCoreError, ClientError) as error:
        summary.outcome, summary.why = UNJUDGED, str(error)
    except (StageError, KeyboardInterrupt) as error:
        summary.outcome, summary.why = FAILED, str(error) or "interrupted"
    (FOLDER / "summary.json").write_text(json.dumps(asdict(summary), indent=2) + "\n")
    stored = _stored(outputs, f"smoke/{summary.commit}-{now:%Y%m%dT%H%M%SZ}")
    print(f"tl-fif: {summary.line}\ntl-fif: {stored}", flush=True)
    if summary.outcome == UNSTABLE:
        _say_unstable(outputs, summary, stored)
    if given.version and summary.outcome in (PASSED, UNSTABLE):
        _remember(outputs["router_arn"], given.version)
    return _CODES[summary.outcome]


def _remember(arn: str, version: str) -> None:
    """That it is not written is no failure: the next deployment asks for a test too many."""
    try:
        proved.remember(arn, version)
    except (BotoCoreError, ClientError) as error:
        print(f"tl-fif: that version {version} passed was not written: {error}", file=sys.stderr)


def _require(version: str | None, outputs: Mapping[str, Any]) -> None:
    """Raises UnjudgedError unless callers get this version alone: of another this says nothing."""
    if version is None:
        return
    arn = outputs["router_arn"]
    found = client("lambda", region_of(arn)).get_alias(FunctionName=arn, Name=ALIAS)
    weights = (found.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
    if found["FunctionVersion"] != version or weights:
        shares = "".join(f", {each} with {weight:.0%}" for each, weight in weights.items())
        raise UnjudgedError(
            f"callers get version {found['FunctionVersion']}{shares}, and version {version} was "
            "to be tried: deliver the commit anew"
        )


def _run(given: argparse.Namespace, outputs: Mapping[str, Any], summary: Summary) -> None:
    """Sends the prompt and fills the summary. Raises StageError, and botocore's errors."""
    token = _sign_in(given.stack, outputs)
    posting = Posting(outputs["api_url"], token, given.prompt, every_s=given.every)
    began = time.monotonic()
    with (FOLDER / "client.log").open("wb") as log:
        child = _client(given, outputs, token, posting.key, log)
        try:
            while child.poll() is None:
                waited = time.monotonic() - began
                if waited > given.limit:
                    raise StageError(f"there is no reply after {given.limit:g} s")
                # The client's own post is the first.
                posting.again_if_due(waited)
                time.sleep(POLL_S)
        finally:
            child.kill()
            child.wait()
            summary.posts = posting.posts
    seconds = time.monotonic() - began
    if child.returncode:
        ending = _CLIENT_ENDS.get(child.returncode, f"the client ended with {child.returncode}")
        said = _last_line(FOLDER / "client.log")
        refusal = _REFUSAL.match(said)
        if child.returncode == 3 and refusal is None:
            ending = _NOBODY
        passes = refusal is not None and refusal[1] in NOT_ITS_FAULT
        raise (UnjudgedError if passes else StageError)(f"{ending}: {said}")
    reply = json.loads((FOLDER / "reply.json").read_text())
    summary.job, summary.seconds = reply.get("id", ""), round(seconds, 1)
    if seconds > given.limit:
        raise StageError(f"the reply took longer than {given.limit:g} s")
    summary.outcome = UNSTABLE if seconds > given.unstable else PASSED
    if summary.outcome == UNSTABLE:
        summary.why = f"the reply took longer than {given.unstable:g} s"
    posting.until(given.posts)


def _sign_in(stack: str, outputs: Mapping[str, Any]) -> str:
    """An access token of the user whom `make smoke-user` has made. Raises UnjudgedError."""
    region, name = outputs["user_pool_id"].partition("_")[0], stack_name(SMOKE_PARAMETER, stack)
    text = parameter(client("ssm", region), name)
    if text is None:
        raise UnjudgedError(f"there is no SSM parameter {name}: make smoke-user STACK={stack}")
    try:
        user = json.loads(text)
        secrets = {"USERNAME": user["email"], "PASSWORD": user["password"]}
    except (ValueError, KeyError, TypeError):
        renew = f"make smoke-user STACK={stack} writes it anew"
        raise UnjudgedError(
            f"the SSM parameter {name} is no JSON of email and password: {renew}"
        ) from None
    # As anybody signs in: without AWS's credentials.
    cognito = client("cognito-idp", region, Config(signature_version=UNSIGNED))
    try:
        answer = cognito.initiate_auth(
            ClientId=outputs["user_pool_client_id"],
            AuthFlow="USER_PASSWORD_AUTH",
            AuthParameters=secrets,
        )
    except ClientError as error:
        said = error.response["Error"].get("Message", "")
        raise UnjudgedError(
            f"Cognito refuses {user['email']} ({said}): make smoke-user STACK={stack}"
        ) from error
    return answer["AuthenticationResult"]["AccessToken"]


def _client(
    given: argparse.Namespace, outputs: Mapping[str, Any], token: str, key: str, log: Any
) -> "subprocess.Popen[bytes]":
    """The headless client, as anybody runs it."""
    argv = [sys.executable, "-m", "gui.client", "--tries", "3", "--idempotency-key", key]
    # Whom the API throttles judges nothing, and is not to wait until the limit has passed.
    argv += ["--max-wait", "0", "--output", str(FOLDER / "reply.json"), "--", given.prompt]
    environment = {**os.environ, "TLFIF_API": outputs["api_url"], "TLFIF_TOKEN": token}
    return subprocess.Popen(
        argv, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("tl-fif: ") if lines else "it said nothing"


def _stored(outputs: Mapping[str, Any], prefix: str) -> str:
    """Where the artefacts are, in words; that they could not be stored is no failure."""
    bucket = outputs.get("artifacts_bucket")
    here = FOLDER.relative_to(ROOT) if FOLDER.is_relative_to(ROOT) else FOLDER
    if not bucket:
        return f"its artefacts are in {here}"
    try:
        upload(client("s3", outputs["user_pool_id"].partition("_")[0]), FOLDER, bucket, prefix)
    except StageError as error:
        return f"its artefacts are in {here} only: {error}"
    return f"its artefacts are at s3://{bucket}/{prefix}/"


def _say_unstable(outputs: Mapping[str, Any], summary: Summary, stored: str) -> None:
    """Counts it, and tells Slack: CodePipeline has no such state."""
    region = outputs["user_pool_id"].partition("_")[0]
    try:
        client("cloudwatch", region).put_metric_data(
            Namespace=NAMESPACE_DELIVERY,
            MetricData=[
                {
                    "MetricName": METRIC_SMOKE_UNSTABLE,
                    "Dimensions": [{"Name": "Stack", "Value": summary.stack}],
                    "Value": 1,
                    "Unit": "Count",
                }
            ],
        )
    except (BotoCoreError, ClientError) as error:
        print(f"tl-fif: {METRIC_SMOKE_UNSTABLE} was not counted: {error}", file=sys.stderr)
    if trouble := slack.tell(summary.stack, region, f"{summary.line}; {stored}"):
        print(f"tl-fif: {trouble}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
