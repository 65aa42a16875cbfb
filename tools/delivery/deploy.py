"""`make deploy`: this commit's router becomes a new version of a deployed stack's, gets a part of
the traffic, then all of it, or none.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from components import bundle
from components.packages import BundleError
from components.settings_errors import SettingsError
from components.settings_groups import DeliverySettings
from recording.model import ROOT
from recording.reading import stack_file
from tools.calling import region_of
from tools.delivery import summary
from tools.delivery.shifting import Deployment, Outcome, Pace, Plan, Stopped, deaf, stoppable
from tools.delivery.versions import CONFIG, DeliveryError, Router
from tools.outputs import OutputsError, stack_outputs, stack_parser

NEEDED = ("router_arn", "probe_arn", "pipeline_name")
# `KEY=value`, for the stages that follow.
EXPORTED = ROOT / "dist" / "delivery" / "exported.env"
_MOST_PERCENT, _MOST_MINUTES = 50.0, 30.0


def main() -> int:
    """Deploys and prints the summary; 0 if the version serves, else 1."""
    parser = stack_parser("python -m tools.delivery.deploy", __doc__, "whose router")
    parser.add_argument("--percent", help="of the traffic at first (default: the stack's)")
    parser.add_argument("--minutes", help="for which it has that part (default: the stack's)")
    parser.add_argument("--bundle", type=Path, help="a zip that was built already")
    parser.add_argument("--target", help="lambda, or host for a local cloud (default: lambda)")
    parser.add_argument("--seconds-per-minute", help="of a local cloud's clock (default: 60)")
    parser.add_argument(
        "--no-cost", action="store_true", help="do not evaluate the commit that served before"
    )
    arguments = parser.parse_args()
    with stoppable():
        try:
            return deploy(arguments)
        except (DeliveryError, OutputsError, BundleError) as error:
            why = str(error)
        except (BotoCoreError, ClientError) as error:
            why = f"AWS does not do it: {error}"
        except Stopped as stopped:
            why = f"{stopped}, before any traffic was shifted"
        deaf()
        print(f"tl-fif: {why}", file=sys.stderr)
        _tell_of_none(arguments, why)
    return 1


def _tell_of_none(arguments: argparse.Namespace, why: str) -> None:
    """Slack hears too of a deployment that ended before there was anything to sum up."""
    stack = arguments.stack
    try:
        arn = stack_outputs(stack, arguments.outputs, ("router_arn",), "make deploy")["router_arn"]
    except OutputsError:
        # Where the stack is nobody knows, nor then its webhook.
        return
    text = f"tl-fif {stack}: deployment FAILED before any traffic was shifted: {why}"
    if trouble := summary.tell(stack, region_of(arn), text):
        print(f"tl-fif: {trouble}", file=sys.stderr)


def deploy(arguments: argparse.Namespace) -> int:
    """Deploys as the command line says. Raises what ends it before any traffic was shifted."""
    stack = arguments.stack
    outputs = _outputs(stack, arguments.outputs)
    region = region_of(outputs["router_arn"])
    plan, pace = _plan(arguments, outputs), Pace(_seconds_per_minute(arguments))
    zipped = _bundle(arguments)
    commit, description = summary.commit()
    lambda_ = boto3.client("lambda", region_name=region, config=CONFIG)
    cloudwatch = boto3.client("cloudwatch", region_name=region, config=CONFIG)
    router = Router(lambda_, outputs["router_arn"], pace.wait)
    deployment = Deployment(router, lambda_, cloudwatch, plan, pace, _say, deaf)
    outcome = deployment.run(zipped, description)
    _export(outcome)
    before = outcome.previous_commit
    compared = not (arguments.no_cost or outcome.unchanged)
    cost = summary.cost_lines(stack, before) if compared else []
    text = summary.written(stack, commit, outcome, region, cost)
    print(text)
    if trouble := summary.tell(stack, region, text):
        print(f"- {trouble}")
    return 1 if outcome.failure else 0


def _outputs(stack: str, file: Path | None) -> Mapping[str, Any]:
    try:
        return stack_outputs(stack, file, NEEDED, "make deploy")
    except OutputsError as error:
        if "no output pipeline_name" not in str(error) and "no output probe_arn" not in str(error):
            raise
        raise OutputsError(
            f"stack {stack} has no pipeline: there `pulumi up` deploys the router; for one set "
            "delivery:connectionArn and delivery:repository"
        ) from error


def _plan(arguments: argparse.Namespace, outputs: Mapping[str, Any]) -> Plan:
    own = _own_settings(arguments.stack)
    percent = arguments.percent or os.environ.get("CANARY_PERCENT") or own["canaryPercent"]
    minutes = arguments.minutes or os.environ.get("CANARY_MINUTES") or own["canaryMinutes"]
    return Plan(
        percent=_number("CANARY_PERCENT", percent, 1, _MOST_PERCENT),
        minutes=_number("CANARY_MINUTES", minutes, 0, _MOST_MINUTES),
        alarms=outputs.get("deploy_alarms") or (),
        probe_arn=outputs["probe_arn"],
    )


def _own_settings(stack: str) -> dict[str, Any]:
    """The stack's own canary, where its settings are beside this."""
    fields = DeliverySettings.model_fields
    usual = {
        "canaryPercent": fields["canary_percent"].default,
        "canaryMinutes": fields["canary_minutes"].default,
    }
    try:
        said = stack_file.read(stack, ROOT).get("tl-fif:delivery")
    except FileNotFoundError:
        return usual
    except SettingsError as error:
        raise DeliveryError(str(error)) from error
    own = said if isinstance(said, Mapping) else {}
    return {name: own.get(name, value) for name, value in usual.items()}


def _number(name: str, value: object, least: float, most: float) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = -1.0
    if not least <= number <= most:
        raise DeliveryError(f"{name} = {value}: it is a number from {least:g} to {most:g}")
    return number


def _seconds_per_minute(arguments: argparse.Namespace) -> float:
    said = arguments.seconds_per_minute or os.environ.get("TLFIF_SECONDS_PER_MINUTE") or 60
    return _number("TLFIF_SECONDS_PER_MINUTE", said, 0.01, 60)


def _bundle(arguments: argparse.Namespace) -> bytes:
    if arguments.bundle:
        try:
            return arguments.bundle.read_bytes()
        except OSError as error:
            raise DeliveryError(f"{arguments.bundle}: {error.strerror}; build one first") from error
    target = arguments.target or os.environ.get("TLFIF_BUNDLE_TARGET") or "lambda"
    if target not in ("lambda", "host"):
        fix = "it is lambda, or host for a local cloud"
        raise DeliveryError(f"TLFIF_BUNDLE_TARGET = {target}: {fix}")
    return bundle.build("router", target).read_bytes()


def _export(outcome: Outcome) -> None:
    EXPORTED.parent.mkdir(parents=True, exist_ok=True)
    EXPORTED.write_text(f"VERSION={outcome.version}\nPREVIOUS_VERSION={outcome.previous}\n")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
