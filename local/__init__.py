"""The local cloud: the same program, functions and node on one machine, without an account."""

import sys
from pathlib import Path

# functions/ is the second source root: the local cloud shares names and scripts with what it runs
# (functions/tlfif).
_FUNCTIONS = str(Path(__file__).resolve().parent.parent / "functions")
if _FUNCTIONS not in sys.path:
    sys.path.append(_FUNCTIONS)
