"""The local cloud: `python -m local {demo,budget-drill,up,…}`, for the Makefile."""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any

BEGAN = time.monotonic()
COMMANDS = {
    "demo": "answer one prompt, cold boot to idle stop",
    "budget-drill": "a budget of one cent stops a running node",
    "up": "keep running until Ctrl-C",
    "deploy": "run Pulumi's CLI against a running local cloud",
    "invoke": "call one function with an event",
    "postman": "run the Postman collection",
    "pipeline": "run the delivery pipeline's stages",
}


def main() -> int:
    """Runs one command; 0 when it did what it says, 1 when not, 130 after Ctrl-C."""
    arguments = parse()
    try:
        return _run(arguments)
    except (asyncio.CancelledError, KeyboardInterrupt):
        print("\ntl-fif: stopped; nothing is left running", file=sys.stderr)
        return 130


def _run(arguments: argparse.Namespace) -> int:
    # Imported here: Pulumi's modules take seconds, which neither --help nor a typing error should
    # cost.
    from local.commands import budget_drill, demo, deploy, invoke, pipeline, postman, shared, up

    commands = {
        "demo": partial(demo.answer, began=BEGAN),
        "budget-drill": partial(budget_drill.drill, began=BEGAN),
        "up": up.stay_up,
        "deploy": deploy.deploy,
        "invoke": invoke.invoke,
        "postman": postman.run,
        "pipeline": partial(pipeline.run, began=BEGAN),
    }
    try:
        # What is deployed can be looked at and destroyed, whatever is wrong in its settings by now.
        deployed = arguments.command == "deploy" and arguments.what in ("refresh", "destroy")
        shared.require_stack(arguments.stack, whole=not deployed)
        return asyncio.run(_until_told(commands[arguments.command](arguments)))
    except shared.EXPECTED as error:
        print(f"tl-fif: {error}", file=sys.stderr)
        return 1


def parse() -> argparse.Namespace:
    """The command line; argparse ends the process when it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text)
        config = "whose configuration (default: %(default)s)"
        command.add_argument("--stack", default="dev", help=config)
        if name in ("demo", "up"):
            any_port = "of the API (default: any free one)"
            command.add_argument("--port", type=_port, default=0, help=any_port)
            who = "who deploys: a recording of the program, or Pulumi's own engine"
            engines = ("recording", "pulumi")
            command.add_argument("--engine", choices=engines, default=engines[0], help=who)
        if name == "deploy":
            command.add_argument("what", choices=("preview", "up", "refresh", "destroy"))
            command.add_argument("options", nargs="*", help="for Pulumi's CLI, after --")
        if name == "demo":
            command.add_argument("prompt")
        if name == "pipeline":
            commit = "what is delivered (default: %(default)s)"
            command.add_argument("--revision", default="HEAD", metavar="COMMIT", help=commit)
            variable = "a variable of every build, such as TEST_ARGS or SMOKE_ARGS"
            command.add_argument(
                "--set", action="append", default=[], metavar="NAME=VALUE", help=variable
            )
        if name == "invoke":
            command.add_argument("function", help="its folder's name in functions/")
            token = "a JSON file; {{token}} in it becomes a user's access token"
            command.add_argument("event", type=Path, help=token)
    return parser.parse_args()


def _port(text: str) -> int:
    """A port's number; 0 is any."""
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is no port: a number from 0 to 65535")
    return int(text)


async def _until_told(run: Coroutine[Any, Any, int]) -> int:
    """Runs the command; SIGTERM ends it as Ctrl-C does, in order."""
    task = asyncio.ensure_future(run)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


if __name__ == "__main__":
    sys.exit(main())
