"""Runs a module with the words of ARGS after its own.

python -m tools.words MODULE [WORD …]
"""

import os
import sys

from tools.words import NAME, WordsError, words


def main() -> None:
    """Becomes the module's process; ends with 1 and one line where there is nothing to run."""
    module, *own = sys.argv[1:] or [""]
    try:
        given = words(os.environ.get(NAME, ""))
    except WordsError as error:
        sys.exit(f"tl-fif: {error}")
    if not module or module.startswith("-"):
        sys.exit(f"tl-fif: MODULE = {module!r}: name the module to run first")
    os.execv(sys.executable, [sys.executable, "-m", module, *own, *given])


if __name__ == "__main__":
    main()
