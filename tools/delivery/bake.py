"""The bake stage's first question: is what would be baked this commit's software?

Image Builder bakes the recipe that is deployed, and `pulumi up` deploys it. Where that was not done
for this commit, the nodes would get an older one: the stage fails, and nothing after it runs.
"""

import sys
from pathlib import Path

from components.settings_errors import SettingsError
from recording import kinds
from recording.evaluate import evaluate
from recording.model import Recording
from tools.outputs import stack_outputs, stack_parser
from tools.stage import StageError, ended

RECIPE = kinds.imagebuilder.RECIPE.token
NEEDED = ("image_recipe_version",)


def main() -> int:
    """0 when a bake is of this commit's software, 1 with one line of error."""
    parser = stack_parser("python -m tools.delivery.bake", __doc__, "whose image")
    given = parser.parse_args()
    return ended(lambda: _check(given.stack, given.outputs))


def _check(stack: str, file: Path | None) -> int:
    outputs = stack_outputs(stack, file, NEEDED, "python -m tools.delivery.bake")
    try:
        version = recipe_version(evaluate(stack))
    except (FileNotFoundError, SettingsError) as error:
        raise StageError(str(error)) from error
    require(version, outputs["image_recipe_version"], stack)
    print(f"tl-fif: this commit's image is {version}", flush=True)
    return 0


def recipe_version(recording: Recording) -> str:
    """The version of a stack's recipe: its content alone decides it. Raises StageError."""
    recipes = recording.of_type(RECIPE)
    if len(recipes) != 1:
        raise StageError(
            f"stack {recording.stack} has no image: gpu:wake = never, so no bake stage"
        )
    return recipes[0].inputs["version"]


def require(version: str, deployed: str, stack: str) -> None:
    """Raises StageError unless this commit's recipe is the deployed one."""
    if version != deployed:
        raise StageError(
            f"this commit's image is {version}, and what is deployed bakes {deployed}: pulumi up "
            f"--stack {stack} first, then let the pipeline run again"
        )


if __name__ == "__main__":
    sys.exit(main())
