"""Which stack files count: the operator's own, `Pulumi.<stack>.yaml` beside the program, or those
that the project came with (`recording/stacks/`), which nobody's deployment changes.
"""

import os
from pathlib import Path

from recording.model import ROOT

# A folder in the project, in place of the project's own. Tests and generated pages set it, so that
# they show and hold the same whoever's stacks are beside the program; processes inherit it.
STACKS = "TLFIF_STACKS"
SHIPPED = "recording/stacks"


def show() -> None:
    """From here on, also in processes that are started, the stacks are those as shipped."""
    os.environ[STACKS] = SHIPPED


def stack_file(stack: str, project_dir: Path = ROOT) -> Path:
    """The stack's file, whether or not it is there; another project than this has its own alone."""
    folder = project_dir / os.environ.get(STACKS, "")
    # A revision from before there were any has only its own.
    folder = folder if project_dir == ROOT and folder.is_dir() else project_dir
    return folder / f"Pulumi.{stack}.yaml"


def stacks(project_dir: Path = ROOT) -> list[str]:
    """The names of the stacks that have a file."""
    files = stack_file("*", project_dir)
    found = files.parent.glob(files.name)
    return sorted(path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in found)
