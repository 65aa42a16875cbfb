"""`await Execution(site).run(pipeline, source)`: one execution of a pipeline, as CodePipeline runs
it; each action's build by its own role, and every call judged by that role's policies.
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from local.aws.endpoint import Endpoint
from local.aws.records import Call
from local.iam.policy import PolicyError
from local.iam.usage import grants, judge
from local.machine.processes import Processes
from local.pipeline import buildspec
from local.pipeline.build import FAILED, SUCCEEDED, Build, Outcome
from local.pipeline.declared import Action, Pipeline, PipelineError, Project
from local.pipeline.source import Source
from recording.model import Recording
from recording.shipped import STACKS

SKIPPED = "Skipped"
BAKE_STAGE = "Bake"
_NO_BUILDER = "there is no Image Builder on this machine"
# Of this machine's own environment a build gets these alone.
_HANDED_ON = ("PATH", "LANG", "TMPDIR", "TZ", STACKS)


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a pipeline runs.

    `machine` is what its builds are told beside what the program declares, as on AWS nothing needs
    to be; `say(action, text)` takes each line that a build writes, and what becomes of it.
    `minute_s` are the seconds of a minute of a build's time-out.
    """

    procs: Processes
    endpoint: Endpoint
    recording: Recording
    region: str
    folder: Path
    machine: Mapping[str, str] = field(default_factory=dict)
    say: Callable[[str, str], None]
    minute_s: float = 60.0


@dataclass(frozen=True, kw_only=True)
class Done:
    """What became of one action."""

    stage: str
    name: str
    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of an execution: `actions` are those that ran, up to the first that failed."""

    status: str
    actions: tuple[Done, ...]

    def of(self, action: str) -> Outcome | None:
        """How an action ended; None where it never began."""
        return next((each.outcome for each in self.actions if each.name == action), None)


class Execution:
    """Runs a pipeline's actions in order; the first failure ends it."""

    def __init__(self, site: Site) -> None:
        self._site = site
        # What each namespace's action has said.
        self._known: dict[str, Mapping[str, str]] = {}

    async def run(self, pipeline: Pipeline, source: Source) -> Result:
        """Raises PipelineError, BuildspecError and SourceError where nothing can be run."""
        done: list[Done] = []
        begun = ("", 0)
        said: dict[str, Mapping[str, str]] = {}
        for action in pipeline.actions:
            # Those of one order begin together on AWS, and know nothing of one another.
            if begun != (begins := (action.stage, action.run_order)):
                self._known |= said
                begun, said = begins, {}
            outcome = await self._run(action, source)
            done.append(Done(stage=action.stage, name=action.name, outcome=outcome))
            took = f"after {outcome.seconds:.1f} s"
            why = f": {outcome.why}" if outcome.why else ""
            self._site.say(action.name, f"{outcome.status} {took}{why}")
            if outcome.status not in (SUCCEEDED, SKIPPED):
                return Result(status=outcome.status, actions=tuple(done))
            if action.namespace:
                said[action.namespace] = outcome.exported
        return Result(status=SUCCEEDED, actions=tuple(done))

    async def _run(self, action: Action, source: Source) -> Outcome:
        if action.project is None:
            told = action.configuration
            return Outcome(
                status=SUCCEEDED,
                exported={
                    "CommitId": source.commit,
                    "BranchName": told.get("BranchName", ""),
                    "FullRepositoryName": told.get("FullRepositoryId", ""),
                },
            )
        if action.stage == BAKE_STAGE and not self._has_builder():
            return Outcome(status=SKIPPED, why=_NO_BUILDER)
        return await self._build(action, action.project, source)

    def _has_builder(self) -> bool:
        """moto has no Image Builder; somebody may answer for it."""
        return any(service == "imagebuilder" for service, _ in self._site.endpoint.answers)

    async def _build(self, action: Action, project: Project, source: Source) -> Outcome:
        site = self._site
        folder = site.folder / f"{action.stage}-{action.name}-{time.monotonic_ns()}"
        place = folder / "source"
        await asyncio.to_thread(source.check_out, place)
        spec = buildspec.read(place / project.buildspec, project.buildspec)
        environment = self._environment(action, project, source, folder)
        build = Build(
            site.procs, project.name, folder / "state", lambda line: site.say(action.name, line)
        )
        began = time.time()
        outcome = await build.run(spec, place, environment, project.timeout_minutes * site.minute_s)
        calls = [each for each in list(site.endpoint.calls) if each.time >= began]
        refused = await asyncio.to_thread(_refused, site.recording, project.role_arn, calls)
        if refused:
            for each in refused:
                site.say(action.name, f"AWS would have refused {each}")
            why = f"its role may not do all that it did: {refused[0]}"
            return Outcome(status=FAILED, why=why, seconds=outcome.seconds)
        return outcome

    def _environment(
        self, action: Action, project: Project, source: Source, folder: Path
    ) -> dict[str, str]:
        """All that a build is told."""
        site, home = self._site, folder / "home"
        home.mkdir()
        key, secret = site.endpoint.credentials_for(project.role_arn)
        handed = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
        return {
            **handed,
            "HOME": str(home),
            # The one that made .venv, whatever else is on PATH.
            "PYTHON": sys.executable,
            **action.environment(self._known),
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_DEFAULT_REGION": site.region,
            "AWS_REGION": site.region,
            "AWS_ENDPOINT_URL": site.endpoint.url,
            "CODEBUILD_BUILD_ID": f"{project.name}:{folder.name}",
            "CODEBUILD_INITIATOR": "codepipeline/local",
            "CODEBUILD_RESOLVED_SOURCE_VERSION": source.commit,
            "CODEBUILD_SRC_DIR": str(folder / "source"),
            **site.machine,
        }


def _refused(recording: Recording, role_arn: str, calls: Iterable[Call]) -> list[str]:
    """What a role has asked of AWS and its policies do not grant. Raises PipelineError."""
    own = [each for each in calls if each.role_arn == role_arn]
    given = [each for each in grants(recording) if each.role_arn == role_arn]
    if own and not given:
        return [f"{role_arn}: {each.action}" for each in own]
    try:
        return judge(given, own).refused
    except PolicyError as error:
        raise PipelineError(str(error)) from error
