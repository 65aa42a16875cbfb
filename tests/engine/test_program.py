"""The program as Pulumi's CLI runs it: from anywhere, without its environment, wrongly set, and
under names of every length.
"""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import BaseModel
from support.engine import Site, needs_engine, site

from components.settings import Settings
from local.engine.cli import QUIET

pytestmark = [pytest.mark.engine, pytest.mark.integration, needs_engine]


@pytest_asyncio.fixture
async def here(tmp_path: Path) -> AsyncIterator[Site]:
    async with site("dev", tmp_path) as here:
        await here.configure()
        yield here


@pytest.mark.story("RED-001")
async def test_it_previews_from_another_folder(here: Site, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = await here.run("-C", str(here.workspace.copy), "preview", cwd=elsewhere)
    assert done.code == 0, done.output


async def test_without_its_environment_it_says_how_to_make_it(here: Site) -> None:
    (here.workspace.copy / ".venv").unlink()
    done = await here.run("preview")
    assert done.code
    assert "has no .venv; make it with: make setup-local" in done.output
    assert "Traceback" not in done.output


async def test_what_is_encrypted_for_aws_gets_a_stand_in_here(here: Site, tmp_path: Path) -> None:
    project = tmp_path / "encrypted"
    project.mkdir()
    for path in here.workspace.copy.iterdir():
        (project / path.name).symlink_to(path.resolve())
    stack_file = project / "Pulumi.dev.yaml"
    stack_file.unlink()
    stack_file.write_text(
        "encryptionsalt: v1:AAAAAAAAAAA=:v1:AAAAAAAAAAAAAAAA:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"
        "config: {aws:region: us-east-1, tl-fif:alerts: {pagerDutyUrl: {secure: v1:AAAA:AAAA}}}\n"
    )
    async with site("dev", tmp_path / "there", project=project) as there:
        await there.configure()
        done = await there.do("preview")
        assert "alerts-pagerduty" in done.output


def _wrong() -> dict[str, dict[str, Any]]:
    """Every documented key with a value that no key takes."""
    groups = {name: field.annotation for name, field in Settings.model_fields.items()}
    return {
        f"tl-fif:{group}": {field.alias: {"is": "wrong"} for field in kind.model_fields.values()}
        for group, kind in groups.items()
        if isinstance(kind, type) and issubclass(kind, BaseModel)
    }


@pytest.mark.story("RED-001")
async def test_every_key_set_wrongly_is_named_with_its_fix_and_without_a_traceback(
    here: Site,
) -> None:
    wrong = _wrong()
    await here.configure(wrong)
    done = await here.run("preview")

    assert done.code
    assert "Traceback" not in done.output
    named = set(re.findall(r"^\s*(?:error: )?(\w+:\w+) = ", done.output, re.MULTILINE))
    keys = {f"{group.partition(':')[2]}:{key}" for group in wrong for key in wrong[group]}
    assert keys - named == set()


LONGEST = "a-stack-with-a-name-of-forty-characters-"[:39] + "s"
EVERYTHING = {
    "tl-fif:gpu": {"tlsIngress": True, "count": 2},
    "tl-fif:gateway": {"probe": "synthetics", "privateEndpoint": True},
    "tl-fif:queue": {"replicas": 1},
    "tl-fif:alerts": {"email": "ops@example.com"},
}


@pytest.mark.story("RED-001")
@pytest.mark.parametrize("stack", ["a-stack-of-20-letter", LONGEST])
async def test_long_names_fit_with_every_option_on(stack: str, tmp_path: Path) -> None:
    assert len(stack) in (20, 40)
    async with site(stack, tmp_path) as here:
        await here.configure({"aws:region": "us-east-1", **EVERYTHING})
        if stack == LONGEST:
            await here.do("up", *QUIET)
            await here.do("preview", "--expect-no-changes")
        else:
            await here.do("preview")


async def test_a_name_that_nothing_can_shorten_is_refused_before_anything_is_made(
    tmp_path: Path,
) -> None:
    async with site("Prod_2", tmp_path) as here:
        await here.configure({"aws:region": "us-east-1"})
        done = await here.run("up", *QUIET)
        assert done.code
        assert "Prod_2" in done.output
        assert "Traceback" not in done.output
        state = await here.state()
        made = [each for each in state["deployment"].get("resources", ()) if each.get("id")]
        assert [each for each in made if not each["type"].startswith("pulumi:")] == []
