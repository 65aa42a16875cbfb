"""Who owns what, under Pulumi's own engine: the pipeline the router's code, its versions and its
alias, `pulumi up` everything else.
"""

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from support.engine import Site, needs_engine, site
from support.program import PIPED

from local.engine.cli import QUIET

pytestmark = [pytest.mark.engine, pytest.mark.integration, needs_engine]

ROUTER = {"FunctionName": "tl-fif-dev-router"}


def serving(here: Site) -> tuple[str, dict[str, float]]:
    """The version that the alias names, and the weights of others."""
    told = here.moto.client("lambda").get_alias(**ROUTER, Name="prod")
    return told["FunctionVersion"], told["RoutingConfig"].get("AdditionalVersionWeights", {})


def published(here: Site) -> list[str]:
    listed = here.moto.client("lambda").list_versions_by_function(**ROUTER)["Versions"]
    return [each["Version"] for each in listed if each["Version"].isdigit()]


def code(here: Site) -> str:
    return here.moto.client("lambda").get_function_configuration(**ROUTER)["CodeSha256"]


def deploy(here: Site, text: str, **weights: float) -> str:
    """What the pipeline's script does by Lambda's API: code, a version, the alias; the version."""
    functions = here.moto.client("lambda")
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as zipped:
            zipped.writestr("router/handler.py", text)
        functions.update_function_code(**ROUTER, ZipFile=file.getvalue())
    version = functions.publish_version(**ROUTER)["Version"]
    routed = {"AdditionalVersionWeights": weights}
    functions.update_alias(**ROUTER, Name="prod", FunctionVersion=version, RoutingConfig=routed)
    return version


def with_pipeline(**more: Any) -> dict[str, Any]:
    return {**PIPED, **more}


@pytest.mark.story("CI-004")
async def test_after_a_deployment_pulumi_up_changes_nothing(tmp_path: Path) -> None:
    async with site("dev", tmp_path) as here:
        await here.configure(with_pipeline())
        await here.do("up", *QUIET)
        assert (serving(here), published(here)) == (("$LATEST", {}), [])
        await here.do("preview", "--expect-no-changes")

        deploy(here, "first = True")
        deploy(here, "second = True", **{"1": 0.9})
        deployed, of = code(here), serving(here)
        assert of == ("2", {"1": 0.9}), "in the middle of a canary"
        await here.do("refresh", *QUIET)
        await here.do("preview", "--expect-no-changes")

        # What callers are told comes with the next version: a published one is as it was.
        await here.configure(with_pipeline(**{"tl-fif:gpu": {"idleMinutes": 7}}))
        assert await here.steps() == {"gpu-node-settings": "update", "router-function": "update"}
        await here.do("up", *QUIET)
        assert (code(here), serving(here), published(here)) == (deployed, of, ["1", "2"])
        await here.do("refresh", *QUIET)
        await here.do("preview", "--expect-no-changes")
        await here.do("destroy", *QUIET)


@pytest.mark.story("CI-004")
async def test_a_stack_that_gets_a_pipeline_keeps_what_serves_until_a_deployment(
    tmp_path: Path,
) -> None:
    async with site("dev", tmp_path) as here:
        await here.configure()
        await here.do("up", *QUIET)
        before = code(here)
        assert (serving(here), published(here)) == (("1", {}), ["1"])

        await here.configure(with_pipeline())
        steps = await here.steps()
        assert "router-alias" not in steps
        assert (steps["router-function"], steps["delivery-pipeline"]) == ("update", "create")
        await here.do("up", *QUIET)
        assert (code(here), serving(here), published(here)) == (before, ("1", {}), ["1"])

        deploy(here, "another = True")
        await here.do("up", *QUIET)
        assert (serving(here), published(here)) == (("2", {}), ["1", "2"])

        # Without one again, what the program has serves at once.
        await here.do("refresh", *QUIET)
        await here.configure()
        await here.do("up", *QUIET)
        version, weights = serving(here)
        assert (version, weights) == (max(published(here), key=int), {})
