"""A pipeline as the program declares it: its stages' actions, and the projects that these run."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from recording import kinds
from recording.model import Recording, Resource

PIPELINE, PROJECT = kinds.delivery.PIPELINE.token, kinds.delivery.PROJECT.token
_VARIABLE = re.compile(r"#\{([A-Za-z0-9@_-]+)\.([A-Za-z0-9@_-]+)\}")


class PipelineError(RuntimeError):
    """The pipeline cannot be run as it is declared; the message names the action."""


@dataclass(frozen=True, kw_only=True)
class Project:
    """A CodeBuild project: the buildspec's path in the source, who runs it, and for how long."""

    name: str
    buildspec: str
    role_arn: str
    timeout_minutes: int
    environment: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Action:
    """One action of a stage; `project` is None for the source's. `variables` may name those of
    actions before it, of earlier stages or of a smaller `run_order`: `#{namespace.NAME}`.
    """

    stage: str
    name: str
    run_order: int
    namespace: str | None
    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    configuration: Mapping[str, str]
    project: Project | None = None
    variables: Mapping[str, str]

    def environment(self, known: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        """What its build is told, by what actions before it have said, by their namespaces.

        Raises PipelineError, as CodePipeline fails an action whose variable nobody has set.
        """
        own = self.project.environment if self.project else {}
        return {**own, **{key: self._told(value, known) for key, value in self.variables.items()}}

    def _told(self, value: str, known: Mapping[str, Mapping[str, str]]) -> str:
        def one(found: re.Match[str]) -> str:
            namespace, name = found.groups()
            if name not in known.get(namespace, {}):
                raise PipelineError(f"{self.stage}/{self.name}: no action has set {found[0]}")
            return known[namespace][name]

        return _VARIABLE.sub(one, value)


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A pipeline's actions in the order in which they run."""

    name: str
    actions: tuple[Action, ...]


def read(recording: Recording) -> Pipeline:
    """The stack's pipeline. Raises PipelineError, also where it has none."""
    found = recording.of_type(PIPELINE)
    if len(found) != 1:
        raise PipelineError(
            f"stack {recording.stack} has no pipeline: it needs delivery:connectionArn and "
            "delivery:repository"
        )
    projects = {each.inputs["name"]: _project(each) for each in recording.of_type(PROJECT)}
    inputs = found[0].inputs
    actions = [
        _action(stage["name"], each, projects)
        for stage in inputs["stages"]
        for each in sorted(stage["actions"], key=_order)
    ]
    _require_artifacts(actions)
    return Pipeline(name=inputs["name"], actions=tuple(actions))


def _order(action: Mapping[str, Any]) -> int:
    return int(action.get("runOrder") or 1)


def _project(resource: Resource) -> Project:
    inputs = resource.inputs
    environment = inputs["environment"].get("environmentVariables", ())
    return Project(
        name=inputs["name"],
        buildspec=inputs["source"]["buildspec"],
        role_arn=inputs["serviceRole"],
        timeout_minutes=int(inputs.get("buildTimeout", 60)),
        environment=dict(_plain(inputs["name"], environment)),
    )


def _action(stage: str, raw: Mapping[str, Any], projects: Mapping[str, Project]) -> Action:
    place = f"{stage}/{raw['name']}"
    configuration = raw.get("configuration", {})
    kind = raw["category"], raw["provider"]
    project = None
    if kind == ("Source", "CodeStarSourceConnection"):
        if configuration.get("OutputArtifactFormat") != "CODEBUILD_CLONE_REF":
            raise PipelineError(f"{place}: the scripts need git, so CODEBUILD_CLONE_REF")
    elif raw["provider"] == "CodeBuild":
        name = configuration["ProjectName"]
        if name not in projects:
            raise PipelineError(f"{place}: there is no CodeBuild project {name}")
        project = projects[name]
    else:
        raise PipelineError(f"{place}: the local pipeline runs no {' of '.join(kind)}")
    told = json.loads(configuration.get("EnvironmentVariables", "[]"))
    return Action(
        stage=stage,
        name=raw["name"],
        run_order=_order(raw),
        namespace=raw.get("namespace"),
        inputs=tuple(raw.get("inputArtifacts") or ()),
        outputs=tuple(raw.get("outputArtifacts") or ()),
        configuration=configuration,
        project=project,
        variables=dict(_plain(place, told)),
    )


def _plain(place: str, variables: Any) -> Iterator[tuple[str, str]]:
    """Names and values of environment variables; of parameters and secrets there are none here."""
    for each in variables:
        if each.get("type", "PLAINTEXT") != "PLAINTEXT":
            raise PipelineError(f"{place}: {each['name']} is no PLAINTEXT variable")
        yield each["name"], each["value"]


def _require_artifacts(actions: list[Action]) -> None:
    """Raises PipelineError unless each build gets the source, and nothing else goes round."""
    made: set[str] = set()
    for each in actions:
        place = f"{each.stage}/{each.name}"
        if each.project and each.outputs:
            raise PipelineError(f"{place}: the local pipeline keeps no artifact {each.outputs[0]}")
        if each.project and len(each.inputs) != 1:
            raise PipelineError(f"{place}: a build has one input, the source")
        if lacking := set(each.inputs) - made:
            raise PipelineError(f"{place}: no action before it makes {min(lacking)}")
        made |= set(each.outputs)
