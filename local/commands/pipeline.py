"""`make pipeline`: the delivery pipeline of a stack, each stage's own script, against a local cloud
that has the stack's pipeline and router as they are declared.
"""

import argparse
from collections.abc import Sequence
from functools import partial

from local.aws.ec2 import Delays
from local.cloud import LocalCloud, Options
from local.commands.demo import Timeline
from local.commands.shared import SECONDS_PER_MINUTE, CommandError
from local.pipeline import declared
from local.pipeline.build import SUCCEEDED
from local.pipeline.buildspec import BuildspecError
from local.pipeline.execution import Execution
from local.pipeline.site import make_smoke_user, site
from local.pipeline.source import Source, SourceError
from recording.evaluate import configuration
from recording.model import ACCOUNT_ID, ROOT

GROUP = "tl-fif:delivery"
# Of a stack that has none: nobody asks GitHub here.
CONNECTION = {
    "connectionArn": f"arn:aws:codeconnections:us-east-1:{ACCOUNT_ID}:connection/"
    "11111111-2222-4333-8444-555555555555",
    "repository": "local/tl-fif",
}
PENDING_S = 1.0


async def run(arguments: argparse.Namespace, began: float) -> int:
    """Delivers a commit of this repository; 0 when every stage succeeded.

    `began` is when the command was given, in s of the monotonic clock.
    """
    show, told = Timeline(began), told_by(arguments.set)
    stack = arguments.stack
    try:
        source = Source.of(ROOT, arguments.revision)
        show.say("source", f"{source.commit[:12]}, as it is committed")
        for changed in source.changed if arguments.revision == "HEAD" else ():
            show.say("source", f"not delivered, because not committed: {changed}")
        connected = (configuration(stack).get(GROUP) or {}).get("connectionArn")
        options = Options(
            stack=stack,
            config={} if connected else {GROUP: CONNECTION},
            seconds_per_minute=SECONDS_PER_MINUTE,
            delays=Delays(pending_s=PENDING_S),
        )
        async with LocalCloud(options, lambda text: show.say("cloud", text)) as cloud:
            await make_smoke_user(cloud, partial(show.say, "user"))
            place = site(cloud, show.say, told)
            result = await Execution(place).run(declared.read(cloud.recording), source)
    except (BuildspecError, SourceError, declared.PipelineError) as error:
        raise CommandError(str(error)) from error
    show.say("end", f"{result.status}; everything is stopped again")
    return 0 if result.status == SUCCEEDED else 1


def told_by(settings: Sequence[str]) -> dict[str, str]:
    """NAME=value, of each setting. Raises CommandError."""
    pairs = [each.partition("=") for each in settings]
    if wrong := [name for name, sign, _ in pairs if not sign or not name]:
        raise CommandError(f"--set {wrong[0]}: it is NAME=value, such as TEST_ARGS=tests/tlfif")
    return {name: value for name, _, value in pairs}
