"""The Pulumi components: what the stack is made of, one file each."""

import sys
from pathlib import Path

# functions/ is the second source root: names and limits are shared with what the program deploys
# (functions/tlfif).
_FUNCTIONS = str(Path(__file__).resolve().parent.parent / "functions")
if _FUNCTIONS not in sys.path:
    sys.path.append(_FUNCTIONS)
