"""Pulumi's CLI over a copy of the project, with its state in a folder and our provider in place of
AWS's.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from components import settings_keys
from components.settings import Settings
from components.settings_errors import PROJECT
from local.deployment.provider.cloud import CloudFile, journal_of
from local.deployment.provider.journal import remove_orphans
from local.engine import language_host
from local.engine.recovery import is_pending, known, recover
from recording.evaluate import configuration
from recording.model import ROOT
from recording.reading.stack_file import project
from recording.shipped import stack_file

# Where tools/engine/build.py leaves the CLI, and what runs a Python program for it.
BUILT = ROOT / ".cache" / "engine" / "current"
QUIET = ("--yes", "--skip-preview")
SET_SECRET = ("config", "set", "--path", "--secret")
PASSPHRASE = "PULUMI_CONFIG_PASSPHRASE"
CLOUD = "TLFIF_CLOUD"
_PROVIDER, _LANGUAGE = "pulumi-resource-aws", "pulumi-language-python"
# Nothing may leave the machine, and nothing of this machine's Pulumi or AWS settings come in.
_SETTINGS = {
    "PULUMI_SKIP_UPDATE_CHECK": "true",
    "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    "PULUMI_DISABLE_REGISTRY_RESOLVE": "true",
    # It ends in a minute; collecting its garbage as often as usual would take a sixth of it.
    "GOGC": "400",
}


class DeploymentError(RuntimeError):
    """Pulumi could not do what it was told; the message has its last words."""


class EngineMissingError(RuntimeError):
    """There is no Pulumi CLI on this machine; the message says how to get one."""

    def __init__(self) -> None:
        super().__init__(
            "there is no pulumi on PATH and none was built; `make engine` builds it where there is "
            "Go, and https://www.pulumi.com/docs/install has it"
        )


@dataclass(frozen=True)
class Engine:
    """The CLI, and what runs Python programs where it has no language host of its own."""

    pulumi: Path
    runner: Path | None


def find_engine() -> Engine | None:
    """The CLI on PATH, or the one that `make engine` built."""
    if (installed := shutil.which("pulumi")) and shutil.which(_LANGUAGE):
        return Engine(Path(installed), None)
    if (BUILT / "pulumi").exists():
        return Engine(BUILT / "pulumi", BUILT / "pulumi-language-python-exec")
    return None


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a command said, and how long it took in s."""

    code: int
    output: str
    seconds: float


@dataclass(kw_only=True)
class Workspace:
    """One project, copied into `folder` because the CLI writes into its stack files, and its state.

    `cloud` is the file that describes the local cloud to the provider (local/deployment/provider).
    """

    folder: Path
    cloud: Path
    project: Path = ROOT
    engine: Engine = field(default_factory=lambda: _required(find_engine()))

    @property
    def copy(self) -> Path:
        """The copy's folder: everything but the stack files is a link."""
        return self.folder / "project"

    @property
    def state(self) -> Path:
        """The folder of all stacks' states."""
        return self.folder / "state"

    @property
    def name(self) -> str:
        """The project's name. Raises SettingsError for a Pulumi.yaml that has none."""
        return project(self.project)

    def prepare(self) -> None:
        """Makes the copy, the folders of state and home, and the plugins; again does no harm."""
        for name in ("project", "state", "home", "bin"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        # The program builds its bundles there, and the CLI reads them in the copy.
        (self.project / "dist").mkdir(exist_ok=True)
        for path in self.project.iterdir():
            link = self.copy / path.name
            if _is_stack_file(path):
                continue
            if not link.exists():
                link.symlink_to(path)
        self._plugin(_PROVIDER, "local.deployment.provider")
        if self.engine.runner:
            self._plugin(_LANGUAGE, language_host.__name__)

    def _plugin(self, name: str, module: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m {module} "$@"\n')
        path.chmod(0o755)

    def select(self, stack: str, config: Mapping[str, Any] | None = None) -> None:
        """Makes the stack unless it is there, with the project's configuration of today; puts right
        what a killed CLI has left.

        `config` overrides single keys. Raises DeploymentError with what the CLI has against it.
        """
        recover(self.state, self.name, stack)
        file = self.copy / f"Pulumi.{stack}.yaml"
        kept = _salt(file)
        settings = dict(config or {})
        if stack_file(stack, self.project).exists():
            # Without the project's own salt: the copy's secrets are under another passphrase.
            settings = configuration(stack, project_dir=self.project, config=config)
        settings, secrets = _apart(settings)
        file.write_text(yaml.safe_dump({"config": settings, **kept}, sort_keys=False))
        if not kept:
            self._must("stack", "init", "--stack", stack)
        for key, value in secrets.items():
            # Encrypted, as the program wants it; by its input, which no list of processes shows.
            self._must(*SET_SECRET, "--stack", stack, key, given=value)
        self._settle(stack)

    def _settle(self, stack: str) -> None:
        """Removes what a killed CLI never heard of, and forgets what it was about to make."""
        resources = CloudFile.read(self.cloud).backend().resources
        known_ = known(self.state, self.name, stack)
        remove_orphans(journal_of(self.cloud), known_, resources.remove)
        if is_pending(self.state, self.name, stack):
            self._must("refresh", "--stack", stack, *QUIET, "--clear-pending-creates")

    def _must(self, *words: str, given: str | None = None) -> None:
        done = self.run(*words, given=given)
        if done.code:
            raise DeploymentError(f"pulumi {' '.join(words[:2])} failed: {done.output.strip()}")

    def run(self, *arguments: str, cwd: Path | None = None, given: str | None = None) -> Done:
        """Runs a command of the CLI to its end, its output and errors together; `given` is its
        input.
        """
        began = time.monotonic()
        stdin = subprocess.DEVNULL if given is None else subprocess.PIPE
        with self.start(*arguments, cwd=cwd, stdin=stdin) as process:
            output, _ = process.communicate(given)
        return Done(code=process.returncode, output=output, seconds=time.monotonic() - began)

    def start(
        self,
        *arguments: str,
        cwd: Path | None = None,
        stdin: int = subprocess.DEVNULL,
        stdout: int | None = subprocess.PIPE,
    ) -> "subprocess.Popen[str]":
        """Starts a command of the CLI, by default without input."""
        return subprocess.Popen(
            [self.engine.pulumi, "--non-interactive", "--color=never", *arguments],
            cwd=cwd or self.copy,
            env=self.environment(),
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.STDOUT if stdout else None,
            text=True,
        )

    def environment(self) -> dict[str, str]:
        """What the CLI, the program and the provider are told."""
        foreign = ("PULUMI_", "AWS_")
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(foreign) and key != "PYTHONDONTWRITEBYTECODE"
        }
        path = os.pathsep.join([str(self.folder / "bin"), kept.get("PATH", "")])
        own = {
            "PATH": path,
            "PYTHONPATH": str(ROOT),
            "PULUMI_HOME": str(self.folder / "home"),
            "PULUMI_BACKEND_URL": f"file://{self.state}",
            PASSPHRASE: "local",
            CLOUD: str(self.cloud),
        }
        runner = {language_host.RUNNER: str(self.engine.runner)} if self.engine.runner else {}
        return {**kept, **_SETTINGS, **own, **runner}


def _required(engine: Engine | None) -> Engine:
    if engine is None:
        raise EngineMissingError
    return engine


def _is_stack_file(path: Path) -> bool:
    return path.name.startswith("Pulumi.") and path.suffix == ".yaml" and path.stem != "Pulumi"


def _apart(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The configuration without its secrets, and these by their paths."""
    left, secrets = dict(settings), dict[str, str]()
    groups = {key.removeprefix(f"{PROJECT}:"): value for key, value in settings.items()}
    for group, key, value in settings_keys.secrets_of(Settings, groups):
        # Anything else is refused by the program, with the fix.
        if isinstance(value, str):
            full = f"{PROJECT}:{group}"
            secrets[f"{full}.{key}"] = value
            left[full] = {name: each for name, each in left[full].items() if name != key}
    return left, secrets


def _salt(file: Path) -> dict[str, str]:
    settings = yaml.safe_load(file.read_text()) if file.exists() else {}
    return {key: settings[key] for key in ("encryptionsalt",) if key in settings}
