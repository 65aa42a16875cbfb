"""`make unlatch`: lifts the budget's latch of a deployed stack, or of a running local cloud; with
`--breaker` it has nodes started again after failed boots.

The stack's guardian does it, which alone may: it knows what the month has cost, and refuses while
it would latch again at once.
"""

import sys

from botocore.exceptions import BotoCoreError, ClientError

from tools.calling import CallError, call
from tools.outputs import OutputsError, stack_outputs, stack_parser

NEEDED = ("guardian_arn",)
# The guardian waits for a run that is under way.
_WITHIN_S = 60.0


def main() -> int:
    """Calls the guardian and prints its line; 0 when it did it, else 1."""
    parser = stack_parser("python -m tools.unlatch", __doc__, "whose latch")
    parser.add_argument("--breaker", action="store_true", help="forget failed boots instead")
    arguments = parser.parse_args()
    command = "reset_breaker" if arguments.breaker else "unlatch"
    try:
        outputs = stack_outputs(arguments.stack, arguments.outputs, NEEDED, "make unlatch")
        said = call(outputs["guardian_arn"], {"command": command}, _WITHIN_S)
    except (CallError, OutputsError) as error:
        print(f"tl-fif: {error}", file=sys.stderr)
        return 1
    except (BotoCoreError, ClientError) as error:
        print(f"tl-fif: AWS does not do it: {error}", file=sys.stderr)
        return 1
    print(f"tl-fif: {said['message']}", file=sys.stdout if said["ok"] else sys.stderr)
    return 0 if said["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
