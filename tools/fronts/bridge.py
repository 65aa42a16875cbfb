"""`make bridge`: OpenAI's API on loopback, answered by a deployed stack or by a running local
cloud.

Options that are not named here are the bridge's own (python -m gui.bridge --help).
"""

import sys

from gui.bridge.command import main as serve
from tools.outputs import OutputsError, stack_outputs, stack_parser

NEEDED = ("api_url", "user_pool_id", "user_pool_client_id")


def main() -> int:
    """What the bridge ends with, or 1 with one line of error."""
    parser = stack_parser("python -m tools.fronts.bridge", __doc__, "whose API")
    given, options = parser.parse_known_args()
    try:
        outputs = stack_outputs(given.stack, given.outputs, NEEDED, "make bridge")
    except OutputsError as error:
        print(f"tl-fif: {error}", file=sys.stderr)
        return 1
    region = outputs["user_pool_id"].partition("_")[0]
    client = ["--client-id", outputs["user_pool_client_id"], "--region", region]
    return serve(["--api", outputs["api_url"], *client, *options])


if __name__ == "__main__":
    sys.exit(main())
