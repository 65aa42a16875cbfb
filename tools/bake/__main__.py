"""`make bake`: an image of the nodes, baked by the stack's pipeline and published for them.

Ends with 0 when it is published, 1 when the bake failed, 2 when it cannot be started, 3 when it
takes too long, 4 when another version is being baked, and 130 when it is interrupted. A bake goes
on in AWS whatever happens here; run again, this waits for it and starts no second one.
"""

import argparse
import json
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from components import iam, prices
from components.gpu_image import BUILD_MINUTES, BUILDER
from components.settings_errors import SettingsError
from components.settings_groups import CostSettings
from recording.evaluate import configuration, stack_region
from tools.bake import images, outcome
from tools.bake.outcome import BakeError
from tools.bake.pipeline import Clock, Pipeline, Step, ami_of, log_of
from tools.outputs import amount
from tools.stage import client

POLICY = "docs/operating.md, What who bakes may do"
REAL = Clock()
# At once, whoever reads it: a bake's log in CI is a pipe.
_said = partial(print, flush=True)


@dataclass(frozen=True, kw_only=True)
class Options:
    """`keep` is how many images stay beside those in use; `force` bakes what was baked before.

    `most_eur` is what a bake may cost, at `usd_per_eur`; one that cost more publishes nothing.
    """

    stack: str
    region: str
    force: bool = False
    keep: int = 1
    timeout_minutes: float = 60
    most_eur: float | None = None
    usd_per_eur: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Aws:
    """The account that the image is baked in."""

    account_id: str
    imagebuilder: Any
    ec2: Any
    ssm: Any

    @classmethod
    def connect(cls, region: str) -> "Aws":
        account_id = client("sts", region).get_caller_identity()["Account"]
        return cls(
            account_id=account_id,
            imagebuilder=client("imagebuilder", region),
            ec2=client("ec2", region),
            ssm=client("ssm", region),
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Bakes, and returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.bake",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--stack", default="dev", help="whose image (default: %(default)s)")
    parser.add_argument("--region", help="where, instead of the region in the stack's file")
    parser.add_argument("--force", action="store_true", help="bake what was baked before, again")
    parser.add_argument(
        "--keep", type=int, default=1, help="images that stay, used or not (default: %(default)s)"
    )
    parser.add_argument(
        "--timeout", type=amount, default=60, help="minutes to wait (default: %(default)s)"
    )
    parser.add_argument(
        "--most-eur", type=amount, help="what a bake may cost: with more, it is not published"
    )
    parser.add_argument(
        "--policy", action="store_true", help="print what who bakes may do, and bake nothing"
    )
    given = parser.parse_args(arguments)
    if given.keep < 1:
        parser.error(f"--keep = {given.keep}: the image that is published stays, so at least 1")
    # As when a person interrupts it: whoever stops a build in CI sends this.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        options = Options(
            stack=given.stack,
            region=given.region or stack_region(given.stack),
            force=given.force,
            keep=given.keep,
            timeout_minutes=given.timeout,
            most_eur=given.most_eur,
            usd_per_eur=usd_per_eur(given.stack),
        )
        aws = Aws.connect(options.region)
        if given.policy:
            allowed = iam.bake_images(options.region, aws.account_id, options.stack)
            print(json.dumps(iam.document(*allowed), indent=2))
            return outcome.PUBLISHED
        bake(options, aws)
    except KeyboardInterrupt:
        return _ended(outcome.INTERRUPTED, "interrupted; a bake that has begun goes on: run again")
    except BakeError as error:
        return _ended(error.code, str(error))
    except (FileNotFoundError, SettingsError) as error:
        return _ended(outcome.REFUSED, str(error))
    except ClientError as error:
        return _ended(outcome.REFUSED, f"AWS refuses: {error}. What is needed: {POLICY}")
    except BotoCoreError as error:
        return _ended(outcome.REFUSED, f"AWS cannot be asked: {error}")
    return outcome.PUBLISHED


def _ended(code: int, why: str) -> int:
    print(f"tl-fif: {why}", file=sys.stderr)
    return code


def bake(
    options: Options, aws: Aws, clock: Clock = REAL, say: Callable[[str], None] = _said
) -> str:
    """Bakes the stack's image, unless it is baked, publishes it and removes what nobody uses;
    returns the AMI's id.

    Raises BakeError.
    """
    pipeline = Pipeline.find(aws.imagebuilder, options.stack, options.region, aws.account_id)
    image = pipeline.running()
    ami_id = None if image or options.force else _baked(pipeline, aws, options)
    if ami_id is None:
        ami_id = _wait(pipeline, image, options, clock, say)
    else:
        say(f"nothing changed since {ami_id} was baked; --force bakes it again")
    if images.publish(aws.ssm, options.stack, ami_id, clock):
        say(f"published {ami_id}: pulumi up --stack {options.stack} makes nodes of it")
    else:
        say(f"{ami_id} is published already")
    _clean(pipeline, aws, options, say)
    return ami_id


def _baked(pipeline: Pipeline, aws: Aws, options: Options) -> str | None:
    """The AMI of what the pipeline would bake now, if somebody has baked it and it is there."""
    ami_id = pipeline.baked(options.region)
    return ami_id if ami_id and images.exists(aws.ec2, ami_id) else None


def _wait(
    pipeline: Pipeline,
    running: str | None,
    options: Options,
    clock: Clock,
    say: Callable[[str], None],
) -> str:
    image = running or pipeline.start()
    say(f"{'waiting for' if running else 'baking'} {image}")
    say(f"            its log, when a phase has ended: {log_of(image, options.stack)}")
    began = clock.now()
    try:
        done = pipeline.wait(image, options.timeout_minutes * 60, say, clock)
    except BakeError as error:
        if error.code == outcome.FAILED:
            _report([*pipeline.steps(image)], options, say)
        raise
    eur = _report([*pipeline.steps(image)], options, say)
    say(f"            baked in {(clock.now() - began) / 60:.1f} min")
    if options.most_eur is not None and eur > options.most_eur:
        raise BakeError(
            outcome.FAILED,
            f"the bake cost €{eur:.3f}, and may cost €{options.most_eur:g}: it is not published. "
            f"To accept it: make bake STACK={options.stack}",
        )
    ami_id = ami_of(done, options.region)
    if ami_id is None:
        raise BakeError(outcome.FAILED, f"{image} has no AMI in {options.region}")
    return ami_id


def _report(steps: Sequence[Step], options: Options, say: Callable[[str], None]) -> float:
    """Says the time of each step, what the builder cost, and whether the build kept its time;
    returns its cost in EUR.
    """
    for step in steps:
        say(f"{step.seconds / 60:6.1f} min  {step.phase.lower()}: {step.name}")
    hours = sum(each.seconds for each in steps) / 3600
    usd = hours * prices.PRICES[BUILDER][options.region].usd
    eur = usd / options.usd_per_eur
    say(f"            {BUILDER} for {hours * 60:.1f} min: ${usd:.3f} (€{eur:.3f})")
    build = [each for each in steps if each.phase == "BUILD"]
    minutes = sum(each.seconds for each in build) / 60
    if minutes > BUILD_MINUTES:
        longest = max(build, key=lambda each: each.seconds)
        say(
            f"warning: the build took {minutes:.1f} min, over its {BUILD_MINUTES}; longest: "
            f"{longest.name}"
        )
    return eur


def usd_per_eur(stack: str) -> float:
    """The stack's rate: costs:usdPerEur, or its default."""
    told = configuration(stack).get("tl-fif:costs") or {}
    group = json.loads(told) if isinstance(told, str) else told
    return float(group.get("usdPerEur", CostSettings.model_fields["usd_per_eur"].default))


def _clean(pipeline: Pipeline, aws: Aws, options: Options, say: Callable[[str], None]) -> None:
    """Removes the images that nobody uses; what cannot be removed is said, and no failure."""
    try:
        for ami in images.unused(aws.ec2, aws.ssm, options.stack, options.keep):
            left = images.remove(aws.ec2, ami)
            say(f"removed {ami.id} of {ami.created}, which nothing uses")
            if left:
                say(f"warning: its snapshots are still there and cost: {', '.join(left)}")
            if ami.arn:
                pipeline.delete(ami.arn)
    except (BotoCoreError, ClientError) as error:
        say(f"warning: old images are still there and cost: {error}")


if __name__ == "__main__":
    sys.exit(main())
