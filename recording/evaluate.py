"""Runs the real program without the Pulumi CLI and records every resource that it declares."""

import asyncio
import contextlib
import contextvars
import gc
import json
import logging
import runpy
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pulumi
from pulumi.runtime.mocks import MockSettings

from components import bundle, costs, settings_keys
from components.naming import check_stack
from components.settings import Settings, decode
from components.settings_errors import PROJECT
from recording import encrypted
from recording.engine import Backend, Engine, Monitor
from recording.invented import RecordingBackend
from recording.model import ROOT, Recording
from recording.reading import stack_file

DEFAULT_REGION = "us-east-1"
STOOD_IN = "encrypted, and without the passphrase a stand-in was taken"

_log = logging.getLogger(__name__)


def evaluate(
    stack: str,
    backend: Backend | None = None,
    *,
    project_dir: Path = ROOT,
    config: Mapping[str, Any] | None = None,
) -> Recording:
    """Runs `project_dir`/__main__.py for `stack` on `backend` (default: RecordingBackend); returns
    what it declared, and its global `bill`.

    `config` overrides keys of Pulumi.<stack>.yaml; a group given as a mapping, key by key. What is
    encrypted there gets a stand-in, which a warning names. Whatever
    the program or the back end raises is raised here. It has a thread and context of its own: call
    it again, or from a running event loop.
    """
    project = stack_file.project(project_dir)
    written = stack_file.read(stack, project_dir)
    settings, secret = _checked(written, config or {})
    if project == PROJECT:
        # At once: what the program imports before it reads them takes seconds.
        Settings.parse(settings, secret)
    if encrypted_keys := encrypted.keys(written):
        _log.warning("%s: %s", STOOD_IN, ", ".join(encrypted_keys))
    monitor = Monitor(
        backend or RecordingBackend(stack, settings.get("aws:region", DEFAULT_REGION))
    )

    def run() -> dict[str, Any]:
        bundle.BUILDS.set(False)
        # As the engine hands them over: by their groups.
        keys = {path if path in settings else path.partition(".")[0] for path in secret}
        pulumi.runtime.set_all_config(_as_text(settings), sorted(keys))
        return asyncio.run(_run(project_dir, project, stack, monitor))

    with _collecting_no_garbage(), ThreadPoolExecutor(1, thread_name_prefix="pulumi") as pool:
        program = pool.submit(contextvars.Context().run, run).result()
    return Recording(
        stack=stack,
        resources=sorted(monitor.recorded, key=lambda resource: resource.urn),
        outputs=monitor.stack_outputs,
        bill=costs.lines(program["bill"]) if "bill" in program else [],
    )


@contextlib.contextmanager
def _collecting_no_garbage() -> Iterator[None]:
    """What the program makes lives until it ends: to look for garbage would take a third of it."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def stack_region(
    stack: str, *, project_dir: Path = ROOT, config: Mapping[str, Any] | None = None
) -> str:
    """The AWS region of a stack, as its file or `config` says.

    Raises FileNotFoundError, and SettingsError for whatever is wrong with the configuration.
    """
    opened = _checked(stack_file.read(stack, project_dir), config or {})
    check_stack(stack)
    return Settings.parse(*opened).region


def configuration(
    stack: str, *, project_dir: Path = ROOT, config: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A stack's configuration, with stand-ins for what is encrypted, and keys of `config` instead;
    whatever is wrong in it.

    Raises FileNotFoundError, and SettingsError for a file that cannot be read.
    """
    return _opened(stack_file.read(stack, project_dir), config or {})


def _checked(
    written: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """The configuration with stand-ins and keys of `config`, and the paths of its secrets: what is
    encrypted, and what `config` sets for this once.
    """
    settings_keys.check(Settings, written, encrypted.keys(written))
    settings = _opened(written, config)
    prefix = f"{PROJECT}:"
    given = {key.removeprefix(prefix): value for key, value in config.items()}
    once = [f"{prefix}{group}.{key}" for group, key, _ in settings_keys.secrets_of(Settings, given)]
    return settings, [*encrypted.keys(written), *once]


def _opened(written: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    opened = encrypted.with_stand_ins(written)
    # `pulumi config set` without `--path` writes a group as one text.
    groups = {key: _group(value) for key, value in opened.items() if key.startswith(f"{PROJECT}:")}
    return merged({**opened, **groups}, config)


def _group(value: Any) -> Any:
    return group if isinstance(group := decode(value), Mapping) else value


def merged(config: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with some keys set otherwise; a group given as a mapping, key by key."""
    result = dict(config)
    for key, value in override.items():
        mapped = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = {**result[key], **value} if mapped else value
    return result


def _as_text(config: Mapping[str, Any]) -> dict[str, str]:
    """Values as the CLI hands them over: text as it is, everything else as JSON."""
    return {
        # `str`: a date in YAML is one in Python too.
        key: value if isinstance(value, str) else json.dumps(value, default=str)
        for key, value in config.items()
    }


async def _run(project_dir: Path, project: str, stack: str, monitor: Monitor) -> dict[str, Any]:
    """Does what the Pulumi language host does, with a monitor in this process in place of the
    engine's; returns the program's globals.
    """
    # One failure fails all that waits for it; `evaluate` raises the first, and asyncio need not log
    # the others.
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    pulumi.runtime.reset_options()
    MockSettings(
        project=project,
        stack=stack,
        root_directory=str(project_dir),
        monitor=monitor,
        engine=Engine(),
        dry_run=False,
    )
    program: dict[str, Any] = {}

    def run() -> None:
        program.update(runpy.run_path(str(project_dir / "__main__.py"), run_name="__main__"))

    await pulumi.runtime.run_in_stack(run)
    return program
