"""The outputs of a deployed stack, for the commands that act on it."""

import argparse
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


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


def stack_outputs(
    stack: str, file: Path | None, needed: Sequence[str], command: str
) -> Mapping[str, Any]:
    """The stack's outputs, from a file or from Pulumi, with all that is needed.

    `command` is what a person called, such as `make user`. Raises OutputsError.
    """
    try:
        outputs = json.loads(file.read_text() if file else _ask_pulumi(stack, command))
    except (OSError, ValueError) as error:
        raise OutputsError(f"{file or 'pulumi'} gave no stack outputs: {error}") from error
    missing = [name for name in needed if not isinstance(outputs, dict) or not outputs.get(name)]
    if missing:
        raise OutputsError(
            f"stack {stack} has no output {missing[0]}; is it deployed? (pulumi up --stack {stack})"
        )
    return outputs


def _ask_pulumi(stack: str, command: str) -> str:
    """What `pulumi stack output --json` prints."""
    if shutil.which("pulumi") is None:
        otherwise = f"or give the stack's outputs: {command} OUTPUTS=file.json"
        raise OutputsError(f"the pulumi command is not installed; {otherwise}")
    asked = ["pulumi", "stack", "output", "--json", "--stack", stack]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OutputsError(f"{' '.join(asked)}: {done.stderr.strip() or 'failed'}")
    return done.stdout
