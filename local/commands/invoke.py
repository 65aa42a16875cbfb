"""`make invoke`: one call of one function, from its bundle under AWS's runtime client, with an
event from a file.
"""

import argparse
import asyncio
import contextlib
import json
from pathlib import Path

from components import bundle
from local.aws.ec2 import Delays
from local.cloud import LocalCloud, Options
from local.commands.shared import CommandError
from local.lambda_.host import FunctionHost
from local.lambda_.model import InvokeResult
from local.users import login

TOKEN = "{{token}}"


class InvokeError(CommandError):
    """There is no such function, or the event file cannot be used."""


async def invoke(arguments: argparse.Namespace) -> int:
    """Prints the function's answer and what it logged; 0 when it answered, 1 when it failed."""
    text = read(arguments.event)
    if arguments.function not in (known := bundle.functions()):
        raise InvokeError(f"FUNCTION = {arguments.function!r}: there are {', '.join(known)}")
    # An instance that is woken stays pending: the call is what is of interest, and no model has to
    # be loaded for it.
    options = Options(stack=arguments.stack, workers=1, delays=Delays(pending_s=3600))
    async with LocalCloud(options) as cloud:
        host = _host(cloud, arguments.function)
        if TOKEN in text:
            text = text.replace(TOKEN, await asyncio.to_thread(login, cloud))
        cloud.logs.clear()
        result = await host.invoke(text.encode())
        lines = [line for name, line in cloud.logs if name == host.function.name]
    show(arguments.function, result, lines)
    return 1 if result.error else 0


def _host(cloud: LocalCloud, function: str) -> FunctionHost:
    try:
        return cloud.host(function)
    except LookupError as error:
        raise InvokeError(str(error)) from error


def read(path: Path) -> str:
    """The event file's text, which is JSON; raises InvokeError."""
    try:
        text = path.read_text()
        json.loads(text)
    except OSError as error:
        fix = "docs/events has some to start from"
        raise InvokeError(f"{path}: {error.strerror}; {fix}") from error
    except (ValueError, RecursionError) as error:
        raise InvokeError(f"{path} is not JSON: {error}") from error
    return text


def show(function: str, result: InvokeResult, lines: list[str]) -> None:
    """The answer with its body unfolded, then the log."""
    answer = json.loads(result.payload or b"null")
    if isinstance(answer, dict) and isinstance(answer.get("body"), str):
        with contextlib.suppress(ValueError):
            answer["body"] = json.loads(answer["body"])
    how = "failed" if result.error else "answered"
    print(f"{function} {how} after {result.duration_ms:.1f} ms:")
    print(json.dumps(answer, indent=2, ensure_ascii=False))
    print("\nlog:", *(lines or ["(nothing)"]), sep="\n  ")
