"""`make console`: the console of a deployed stack, or of a running local cloud: its folder written,
served at http://localhost:PORT/, and opened.
"""

import argparse
import re
import sys
import threading
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from gui.site import PORTS, Configuration, Site, SiteError, write
from recording.model import ROOT
from tools.outputs import OutputsError, stack_outputs, stack_parser

NEEDED = ("api_url", "user_pool_id", "user_pool_client_id")
FOLDERS = ROOT / ".cache" / "console"


def main() -> int:
    """Writes, serves and opens it until Ctrl-C; 0, or 1 with one line of error."""
    arguments = _parse()
    folder = arguments.folder or FOLDERS / re.sub(r"[^\w-]", "-", arguments.stack)
    try:
        outputs = stack_outputs(arguments.stack, arguments.outputs, NEEDED, "make console")
        write(folder, configuration(arguments.stack, outputs))
        print(f"written: {folder}")
        if not arguments.no_serve:
            _serve(folder, arguments)
    except (OutputsError, SiteError) as error:
        print(f"tl-fif: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def configuration(stack: str, outputs: Mapping[str, Any]) -> Configuration:
    """What the page is told of a stack with these outputs. Raises OutputsError."""
    pool: str = outputs["user_pool_id"]
    return Configuration(
        api_url=outputs["api_url"],
        cognito_url=cognito_url(pool.partition("_")[0]),
        client_id=outputs["user_pool_client_id"],
        user_pool_id=pool,
        stack=stack,
    )


def cognito_url(region: str) -> str:
    """Where Cognito answers: AWS's address in the region, or what $AWS_ENDPOINT_URL says, as for
    every other command. Raises OutputsError.
    """
    try:
        client = boto3.client(
            "cognito-idp", region_name=region, config=Config(signature_version=UNSIGNED)
        )
    except (BotoCoreError, ValueError) as error:
        raise OutputsError(f"Cognito's address in {region} is not known: {error}") from error
    return client.meta.endpoint_url.rstrip("/") + "/"


def _parse() -> argparse.Namespace:
    parser = stack_parser("python -m tools.fronts.console", __doc__, "whose console")
    where = "where it is written (default: .cache/console/STACK)"
    parser.add_argument("--folder", type=Path, help=where)
    first = f"of http://localhost (default: the first free one from {PORTS.start} on)"
    parser.add_argument("--port", type=int, help=first)
    parser.add_argument("--no-open", action="store_true", help="open no browser")
    parser.add_argument("--no-serve", action="store_true", help="only write the folder")
    return parser.parse_args()


def _serve(folder: Path, arguments: argparse.Namespace) -> None:
    ports = PORTS if arguments.port is None else [arguments.port]
    with Site(folder, ports) as site:
        print(f"the console of stack {arguments.stack}: {site.url}\nCtrl-C ends it.", flush=True)
        if not arguments.no_open:
            webbrowser.open(site.url)
        _until_ctrl_c()


def _until_ctrl_c() -> None:
    threading.Event().wait()


if __name__ == "__main__":
    sys.exit(main())
