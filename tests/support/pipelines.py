"""Recorded pipelines of a test's own: a source, then projects that run buildspecs, in order."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from local.pipeline.declared import PIPELINE, PROJECT
from recording import kinds
from recording.model import ACCOUNT_ID, Recording, Resource

ROLE = f"arn:aws:iam::{ACCOUNT_ID}:role/"
SOURCE = {
    "name": "Source",
    "actions": [
        {
            "name": "GitHub",
            "category": "Source",
            "owner": "AWS",
            "provider": "CodeStarSourceConnection",
            "namespace": "Source",
            "outputArtifacts": ["source"],
            "configuration": {
                "FullRepositoryId": "example/tl-fif",
                "BranchName": "main",
                "OutputArtifactFormat": "CODEBUILD_CLONE_REF",
            },
        }
    ],
}


def stage(name: str, **told: str) -> dict[str, Any]:
    """A stage that runs the project of its name; `told` are the action's variables."""
    variables = [{"name": key, "value": value} for key, value in told.items()]
    return {
        "name": name,
        "actions": [
            {
                "name": name,
                "category": "Build",
                "owner": "AWS",
                "provider": "CodeBuild",
                "namespace": name,
                "inputArtifacts": ["source"],
                "configuration": {
                    "ProjectName": f"tl-fif-{name.lower()}",
                    "EnvironmentVariables": json.dumps(variables),
                },
            }
        ],
    }


def together(*stages: dict[str, Any], apart: bool = True) -> dict[str, Any]:
    """The first stage, with the actions of all: one after the other, or all at once."""
    actions = [
        {**action, "runOrder": order if apart else 1}
        for order, each in enumerate(stages, 1)
        for action in each["actions"]
    ]
    return {"name": stages[0]["name"], "actions": actions}


def project(name: str, **environment: str) -> Resource:
    """The project of a stage, which runs delivery/<name>.yml."""
    variables = [{"name": key, "value": value} for key, value in environment.items()]
    inputs = {
        "name": f"tl-fif-{name}",
        "serviceRole": f"{ROLE}{name}",
        "buildTimeout": 5,
        "environment": {"environmentVariables": variables},
        "source": {"type": "CODEPIPELINE", "buildspec": f"delivery/{name}.yml"},
    }
    return resource(PROJECT, name, inputs)


def role(name: str, *statements: dict[str, Any]) -> list[Resource]:
    """A project's role, and what it may do."""
    arn = f"{ROLE}{name}"
    found = [resource(kinds.iam.ROLE.token, f"{name}-role", {}, {"name": name, "arn": arn})]
    if statements:
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        inputs = {"role": name, "policy": policy}
        found.append(resource(kinds.iam.ROLE_POLICY.token, f"{name}-policy", inputs))
    return found


def recording(stages: Sequence[Mapping[str, Any]], *resources: Resource) -> Recording:
    """A stack that has a pipeline of these stages."""
    pipeline = resource(PIPELINE, "pipeline", {"name": "tl-fif", "stages": list(stages)})
    return Recording(stack="dev", resources=[pipeline, *resources], outputs={})


def resource(
    kind: str, name: str, inputs: dict[str, Any], outputs: dict[str, Any] | None = None
) -> Resource:
    return Resource(
        urn=f"urn:pulumi:dev::tl-fif::{kind}::{name}",
        type=kind,
        name=name,
        parent="",
        inputs=inputs,
        outputs=outputs or {},
        id=name,
        dependencies=[],
        custom=True,
    )
