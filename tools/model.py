"""`make model`: the weights of a deployed stack, or of a running local cloud, brought to its bucket
now: from the hub, or from a file of this machine.

A file is only carried to the bucket here. The stack's own function, which alone may call something
weights, checks what has arrived, as it does with what comes from the hub.
"""

import hashlib
import re
import sys
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from tlfif import names
from tools.calling import CallError, call, region_of
from tools.outputs import OutputsError, stack_outputs, stack_parser

NEEDED = ("replies_bucket", "model_status")
# The function may take Lambda's 15 minutes.
_WITHIN_S = 910.0
_GGUF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.gguf")
_MAGIC = b"GGUF"
_CHUNK = 1 << 22


class ModelError(RuntimeError):
    """The weights were not brought; the message says why and what to do."""


def main() -> int:
    """Brings them and prints the function's line; 0 when they are there, else 1."""
    parser = stack_parser("python -m tools.model", __doc__, "whose weights")
    parser.add_argument("--file", type=Path, help="the weights, instead of the hub's")
    arguments = parser.parse_args()
    try:
        outputs = stack_outputs(arguments.stack, arguments.outputs, NEEDED, "make model")
        told = outputs["model_status"]
        if arguments.file:
            check(arguments.file, told["sha256"], arguments.stack)
            carry(arguments.file, outputs["replies_bucket"], told)
        said = bring(told["function"])
    except (ModelError, OutputsError) as error:
        print(f"tl-fif: {error}", file=sys.stderr)
        return 1
    except (BotoCoreError, ClientError) as error:
        print(f"tl-fif: AWS does not do it: {error}", file=sys.stderr)
        return 1
    print(f"tl-fif: {said['message']}", file=sys.stdout if said["ok"] else sys.stderr)
    return 0 if said["ok"] else 1


def check(file: Path, wanted: str, stack: str) -> None:
    """Raises ModelError unless the file is GGUF and its SHA-256 is the stack's model:sha256."""
    digest = hashlib.sha256()
    try:
        with file.open("rb") as content:
            magic = content.read(len(_MAGIC))
            digest.update(magic)
            while chunk := content.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise ModelError(f"FILE = {file}: {error.strerror}; name a GGUF file") from error
    if magic != _MAGIC:
        raise ModelError(
            f"FILE = {file} is no GGUF file: it begins with {magic!r} and not with {_MAGIC!r}; "
            "the engines of both lanes read GGUF"
        )
    if digest.hexdigest() != wanted:
        raise ModelError(_other(file, digest.hexdigest(), wanted, stack))


def _other(file: Path, found: str, wanted: str, stack: str) -> str:
    values = {"sha256": found}
    if _GGUF.fullmatch(file.name):
        values["file"] = file.name
    lines = [
        f"  pulumi config set --stack {stack} --path 'tl-fif:model.{key}' {value}"
        for key, value in values.items()
    ]
    return "\n".join(
        [
            f"FILE = {file} has the SHA-256 {found},",
            f"but the weights of stack {stack} (tl-fif:model.sha256) have {wanted}.",
            "Name another file; or make this one the stack's:",
            *lines,
            f"  pulumi up --stack {stack}",
            f"  make model STACK={stack} FILE={file}",
        ]
    )


def carry(file: Path, bucket: str, told: dict[str, Any]) -> None:
    """Uploads the file to where the function finds it, unless the weights are there."""
    s3 = boto3.client("s3", region_name=region_of(told["function"]))
    try:
        s3.head_object(Bucket=bucket, Key=names.model_key(told["sha256"]))
        return
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
    size, sent, shown = file.stat().st_size, 0, 0

    def progress(count: int) -> None:
        nonlocal sent, shown
        sent += count
        if (tenths := 10 * sent // size) > shown:
            shown = tenths
            print(f"tl-fif: {10 * tenths} % of {size:,} bytes are in the bucket", file=sys.stderr)

    s3.upload_file(str(file), bucket, names.incoming_key(told["sha256"]), Callback=progress)


def bring(function_arn: str) -> dict[str, Any]:
    """What the function answers: whether the weights are there, and one line."""
    try:
        return call(function_arn, {"caller": "make model"}, _WITHIN_S)
    except CallError as error:
        raise ModelError(f"{error}; what has arrived is kept: call it again") from error


if __name__ == "__main__":
    sys.exit(main())
