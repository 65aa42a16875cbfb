"""A stack that Pulumi's own engine deploys into a local cloud, and what it has deployed there."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local.deployment.provider.cloud import CloudFile
from local.deployment.provider.values import SIGNATURE
from local.engine.cli import QUIET, DeploymentError, Done, Workspace
from recording.engine import STACK_TYPE
from recording.model import Recording, Resource

_log = logging.getLogger(__name__)

PROVIDERS = "pulumi:providers:"
# What marks an archive and a single file (sdk/go/common/resource).
_FILES = ("0def7320c3a5731c473e5ecbe6d01bc7", "c44067f5952c0a294b673a41bacd8c17")


class Deployment:
    """One stack in one folder, which has the state, the project's copy and the plugins."""

    def __init__(self, folder: Path, cloud: CloudFile) -> None:
        self.folder = folder
        self.stack = cloud.stack
        self._cloud = cloud
        self._workspace: Workspace | None = None

    def workspace(self, config: Mapping[str, Any] | None = None) -> Workspace:
        """Where the CLI runs for this stack, with the project's settings of now.

        Raises EngineMissingError, or DeploymentError.
        """
        workspace = self._prepared()
        workspace.select(self.stack, config)
        return workspace

    def _prepared(self) -> Workspace:
        if self._workspace is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = self.folder / "cloud.json"
            self._cloud.write(file)
            workspace = Workspace(folder=self.folder, cloud=file)
            workspace.prepare()
            self._workspace = workspace
        return self._workspace

    def up(self, config: Mapping[str, Any] | None = None) -> Recording:
        """Deploys the program as it is now; raises DeploymentError."""
        done = self.workspace(config).run("up", "--stack", self.stack, *QUIET)
        if done.code:
            raise DeploymentError(f"pulumi up failed:\n{done.output.strip()}")
        for line in done.output.splitlines():
            # Of what the program said in a deployment that worked, nobody sees anything else.
            if line.strip().startswith("warning: "):
                _log.warning(line.strip().removeprefix("warning: "))
        return self.recording()

    def recording(self) -> Recording:
        """What the state says is deployed, as a recording of the program would have it."""
        done = self._prepared().run("stack", "export", "--stack", self.stack, "--show-secrets")
        return read_state(self.stack, _exported(done))


def _exported(done: Done) -> dict[str, Any]:
    if done.code:
        raise DeploymentError(f"pulumi stack export failed: {done.output.strip()}")
    return json.loads(done.output)


def read_state(stack: str, exported: Mapping[str, Any]) -> Recording:
    """A recording of what an exported state holds; it has no bill."""
    found = exported["deployment"].get("resources") or []
    own = [each for each in found if each["type"] != STACK_TYPE and not each.get("delete")]
    resources = [_resource(each) for each in own if not each["type"].startswith(PROVIDERS)]
    outputs = [each.get("outputs", {}) for each in found if each["type"] == STACK_TYPE]
    return Recording(
        stack=stack,
        resources=sorted(resources, key=lambda each: each.urn),
        outputs=_plain(outputs[0]) if outputs else {},
    )


def _resource(state: Mapping[str, Any]) -> Resource:
    return Resource(
        urn=state["urn"],
        type=state["type"],
        name=state["urn"].rpartition("::")[2],
        parent=state.get("parent", ""),
        inputs=_plain(state.get("inputs", {})),
        outputs=_plain(state.get("outputs", {})),
        id=state.get("id", ""),
        dependencies=sorted(state.get("dependencies") or ()),
        custom=state["custom"],
    )


def _plain(value: Any) -> Any:
    """Values as a recording has them: secrets in clear, archives and files as their paths."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if SIGNATURE in value:
        if value[SIGNATURE] in _FILES:
            return value.get("path", "")
        return _plain(json.loads(value["plaintext"])) if "plaintext" in value else None
    return {key: _plain(item) for key, item in value.items()}
