"""`make up`, `make refresh`, `make destroy`: Pulumi's own CLI against a running local cloud."""

import argparse
import asyncio
from pathlib import Path

from local.commands.shared import say
from local.control import NoCloudError, cloud_file, tell
from local.deployment.provider.cloud import CloudFile
from local.engine.cli import QUIET
from local.engine.deployment import Deployment

# What the CLI is told to do without asking, by the name of the command.
COMMANDS = {
    "preview": ("preview",),
    "up": ("up", *QUIET),
    "refresh": ("refresh", *QUIET),
    "destroy": ("destroy", *QUIET),
}


async def deploy(arguments: argparse.Namespace) -> int:
    """Runs one command of Pulumi's CLI, shown as it goes; its exit code."""
    return await asyncio.to_thread(_deploy, arguments)


def _deploy(arguments: argparse.Namespace) -> int:
    stack, command = arguments.stack, arguments.what
    file = cloud_file(stack)
    if not file.exists():
        raise NoCloudError(stack)
    cloud = CloudFile.read(file)
    control = Path(cloud.control)
    tell(control, "look" if command == "preview" else "make way", stack)
    workspace = Deployment(Path(cloud.folder), cloud).workspace()
    words = (*COMMANDS[command], "--stack", stack, *arguments.options)
    with workspace.start(*words, stdout=None) as cli:
        code = cli.wait()
    if command == "preview":
        return code
    # Also what was interrupted has changed something.
    whole = tell(control, "adopt", stack)
    say("the local cloud runs what is deployed" if whole else "no whole stack is deployed now")
    return code
