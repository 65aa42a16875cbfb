"""The outputs of a deployed stack, for the commands that act on it."""

import argparse
import json
import math
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ANEW = "write them anew: pulumi stack output --json > outputs.json"
_SHOWN = 80
# How an output that is needed is told by its name: a pattern, and what it is called.
_FORMS = {
    "_arn": (r"arn:[a-z-]+:[a-z0-9-]+:[a-z0-9-]+:[0-9]*:.+", "ARN"),
    "_url": (r"https?://[!-~]+", "address that begins with https://"),
    "user_pool_id": (r"[a-z0-9-]+_[A-Za-z0-9]+", "user pool's id"),
}


class OutputsError(RuntimeError):
    """There are no outputs to act on; the message says why and what to do."""


def stack_parser(prog: str, description: str | None, whose: str) -> argparse.ArgumentParser:
    """The command line of what acts on a deployed stack: `stack`, and `outputs` (a file, or None).

    `whose` begins the help of the first.
    """
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--stack", default="dev", help=f"{whose} (default: %(default)s)")
    parser.add_argument(
        "--outputs", type=Path, help="the stack's outputs as JSON, instead of asking pulumi"
    )
    return parser


def amount(text: str) -> float:
    """A number from 0 on, of an option; raises argparse's error for anything else."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is no number from 0 on")
    return number


def whole(text: str) -> int:
    """A whole number from 1 on, of an option; raises argparse's error for anything else."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text)):
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is no whole number from 1 on")
    return int(text)


def stack_outputs(
    stack: str, file: Path | None, needed: Sequence[str], command: str
) -> Mapping[str, Any]:
    """The stack's outputs, from a file or from Pulumi, with all that is needed, each of its form.

    `command` is what a person called, such as `make user`. Raises OutputsError.
    """
    source = str(file) if file else f"pulumi stack output --stack {stack}"
    try:
        outputs = json.loads(file.read_bytes() if file else _ask_pulumi(stack, command))
    except OSError as error:
        raise OutputsError(f"OUTPUTS = {source}: {error.strerror}; {ANEW}") from error
    except (ValueError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise OutputsError(f"{source} gave no stack outputs: {said}; {ANEW}") from error
    if not isinstance(outputs, dict):
        kind = f"a {type(outputs).__name__}, and no map from names to values"
        raise OutputsError(f"{source} gave no stack outputs: it is {kind}; {ANEW}")
    for name in (each for each in needed if not outputs.get(each)):
        deploy = f"is it deployed? (pulumi up --stack {stack})"
        raise OutputsError(f"stack {stack} has no output {name}; {deploy}")
    for name in needed:
        if form := _lacks(name, outputs[name]):
            shown = repr(outputs[name])[:_SHOWN]
            raise OutputsError(f"{name} = {shown}, from {source}, is no {form}; {ANEW}")
    return outputs


def _lacks(name: str, value: Any) -> str | None:
    """The form that an output has not, though others read it by that."""
    if name == "model_status":
        told = value if isinstance(value, dict) else {}
        good = _is(_FORMS["_arn"][0], told.get("function")) and _is(".+", told.get("sha256"))
        return None if good else "map with `function` and `sha256`"
    for ending, (pattern, form) in _FORMS.items():
        if name.endswith(ending):
            return None if _is(pattern, value) else form
    return None if isinstance(value, str) else "text"


def _is(pattern: str, value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _ask_pulumi(stack: str, command: str) -> str:
    """What `pulumi stack output --json` prints."""
    if shutil.which("pulumi") is None:
        otherwise = f"or give the stack's outputs: {command} OUTPUTS=file.json"
        raise OutputsError(f"the pulumi command is not installed; {otherwise}")
    # It asks nobody for a passphrase: its question would not be seen.
    asked = ["pulumi", "stack", "output", "--json", "--non-interactive", "--stack", stack]
    done = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split()) or "failed"
        fix = "name a stack of `pulumi stack ls`, in STACK=, that is deployed"
        raise OutputsError(f"{' '.join(asked)}: {said}; {fix}")
    return done.stdout.decode(errors="replace")
