"""A build's phases, run as CodeBuild runs them: what is shared, what a failure ends, and what is
handed on.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from local.machine.processes import Processes
from local.pipeline.build import FAILED, SUCCEEDED, TIMED_OUT, Build, Outcome
from local.pipeline.buildspec import Buildspec, BuildspecError, read

pytestmark = [pytest.mark.integration, pytest.mark.story("CI-001")]

PATH = {"PATH": "/usr/bin:/bin"}


def phases(**given: list[str] | dict[str, Any]) -> dict[str, Any]:
    return {
        name: phase if isinstance(phase, dict) else {"commands": phase}
        for name, phase in given.items()
    }


@pytest.fixture
def lines() -> list[str]:
    """What the build writes."""
    return []


@pytest.fixture
def run(procs: Processes, tmp_path: Path, lines: list[str]) -> Any:
    async def run(
        spec: dict[str, Any], environment: dict[str, str] | None = None, timeout_s: float = 20
    ) -> Outcome:
        source = tmp_path / "source"
        source.mkdir()
        build = Build(procs, "build", tmp_path / "state", lines.append)
        parsed = Buildspec.model_validate({"version": 0.2, **spec})
        return await build.run(parsed, source, {**PATH, **(environment or {})}, timeout_s)

    return run


@pytest.mark.parametrize("shell", ["bash", "sh"])
async def test_all_commands_share_one_environment_and_folder(
    run: Any, lines: list[str], shell: str
) -> None:
    spec = phases(
        install=["export SAID='a \"b\" $c'", "mkdir -p deep && cd deep"],
        build=['echo "$SAID in ${PWD##*/} by $OWN, $TOLD"'],
    )
    env = {"shell": shell, "variables": {"OWN": "the buildspec", "TOLD": "nobody"}}
    done = await run({"env": env, "phases": spec}, {"TOLD": "the project"})
    assert (done.status, done.why) == (SUCCEEDED, "")
    assert lines == ['a "b" $c in deep by the buildspec, the project']


async def test_the_environment_is_the_given_one_alone(
    run: Any, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPERATORS", "own")
    await run({"phases": phases(build=["echo got ${OPERATORS-nothing}"])})
    assert lines == ["got nothing"]


async def test_after_a_failed_build_comes_post_build_which_knows(
    run: Any, lines: list[str]
) -> None:
    spec = phases(
        install=["echo install $CODEBUILD_BUILD_SUCCEEDING"],
        build={"commands": ["exit 7", "echo never"], "finally": ["echo in any case"]},
        post_build=["echo post $CODEBUILD_BUILD_SUCCEEDING"],
    )
    done = await run({"phases": spec})
    assert (done.status, done.why) == (FAILED, "build: `exit 7` ended with 7")
    assert lines == ["install 1", "in any case", "post 0"]


@pytest.mark.parametrize("failing", ["install", "pre_build"])
async def test_what_fails_before_the_build_ends_everything(
    run: Any, lines: list[str], failing: str
) -> None:
    spec = phases(install=["true"], pre_build=["true"], build=["echo b"], post_build=["echo p"])
    spec[failing] = {"commands": ["false"]}
    done = await run({"phases": spec})
    assert (done.status, done.why) == (FAILED, f"{failing}: `false` ended with 1")
    assert lines == []


async def test_a_failed_build_that_aborts_has_no_post_build(run: Any, lines: list[str]) -> None:
    build = {"commands": ["false"], "on-failure": "ABORT"}
    done = await run({"phases": phases(build=build, post_build=["echo p"])})
    assert (done.status, lines) == (FAILED, [])


async def test_a_failed_post_build_fails_the_build(run: Any) -> None:
    done = await run({"phases": phases(build=["true"], post_build=["false"])})
    assert (done.status, done.why) == (FAILED, "post_build: `false` ended with 1")


async def test_exported_variables_are_handed_on(run: Any) -> None:
    env = {"shell": "bash", "exported-variables": ["ONE", "TWO", "NONE"]}
    spec = phases(build=["export ONE=1", "export TWO=$'first\\nsecond'"])
    done = await run({"env": env, "phases": spec})
    assert done.exported == {"ONE": "1", "TWO": "first\nsecond", "NONE": ""}


async def test_a_build_that_takes_too_long_is_ended_with_all_it_started(
    run: Any, lines: list[str], procs: Processes
) -> None:
    spec = phases(build=["sleep 60 & sleep 60"], post_build=["echo p"])
    done = await run({"phases": spec}, timeout_s=0.3)
    assert (done.status, lines) == (TIMED_OUT, [])
    assert done.seconds < 10
    assert procs._running == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 0.2\nphases: {build: {comands: [a]}}", "phases.build.comands is no key"),
        ("version: 0.2\nphases: {build: {commands: []}}", "phases.build.commands = []"),
        ("version: 0.1\nphases: {}", "version = 0.1"),
        ("version: 0.2\ncache: {}\nphases: {}", "cache is no key of a buildspec, or none that"),
        ("phases: [", "is no YAML"),
        ("just text", "the whole = 'just text'"),
        (
            "version: 0.2\nphases: {install: {runtime-versions: {python: '3.14'}, commands: [a]}}",
            "phases.install.runtime-versions = {'python': '3.14'}: the image's runtime is python",
        ),
        (
            "version: 0.2\nphases: {build: {runtime-versions: {python: '3.12'}, commands: [a]}}",
            "phases.build",
        ),
    ],
)
def test_what_codebuild_would_not_understand_is_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "test.yml"
    path.write_text(text)
    with pytest.raises(BuildspecError) as error:
        read(path, "delivery/test.yml")
    assert str(error.value).startswith("delivery/test.yml")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_buildspec_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BuildspecError, match=r"^delivery/no\.yml: No such file"):
        read(tmp_path / "no.yml", "delivery/no.yml")


@pytest.mark.parametrize("name", ["test", "bake", "deploy", "smoke"])
def test_our_buildspecs_are_understood_and_read_as_text(name: str) -> None:
    path = Path(__file__).parents[3] / f"delivery/{name}.yml"
    spec = read(path, name)
    assert spec.phases.build
    assert yaml.safe_load(path.read_text())["version"] == 0.2
