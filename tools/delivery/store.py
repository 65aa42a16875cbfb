"""Leaves a folder in the pipeline's bucket, where people can read it until the bucket's lifecycle
deletes it.
"""

import argparse
import mimetypes
import sys
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tools.stage import StageError, client, ended


def main() -> int:
    """Uploads the folder; 0, or 1 with one line of error."""
    parser = argparse.ArgumentParser(prog="python -m tools.delivery.store", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("prefix", help="the folder's name in the bucket, such as coverage/<commit>")
    parser.add_argument("--bucket", required=True, help="the stack's output artifacts_bucket")
    arguments = parser.parse_args()
    return ended(lambda: _store(arguments.folder, arguments.bucket, arguments.prefix))


def _store(folder: Path, bucket: str, prefix: str) -> int:
    # The region is the build's own.
    count = upload(client("s3", None), folder, bucket, prefix)
    print(f"{count} files are at s3://{bucket}/{prefix}/", flush=True)
    return 0


def upload(s3: Any, folder: Path, bucket: str, prefix: str) -> int:
    """Puts every file of a folder below a prefix, and returns how many they are.

    Raises StageError where there is none, or AWS takes one not.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise StageError(f"{folder} has no file to store at s3://{bucket}/{prefix}/")
    for path in files:
        kind = mimetypes.guess_type(path.name)[0] or "text/plain"
        key = f"{prefix}/{path.relative_to(folder).as_posix()}"
        try:
            s3.put_object(Bucket=bucket, Key=key, Body=path.read_bytes(), ContentType=kind)
        except (BotoCoreError, ClientError) as error:
            raise StageError(f"s3://{bucket}/{key} was not stored: {error}") from error
    return len(files)


if __name__ == "__main__":
    sys.exit(main())
