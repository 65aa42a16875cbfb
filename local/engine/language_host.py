"""A stand-in for `pulumi-language-python`, of which no version is published as a Go module.

It does what the engine asks of it to run this project, and nothing else: starts the program in the
project's virtual environment. The official one is used wherever there is one. A stand-in, and not
the Automation API's inline programs, so that what runs is `pulumi up` itself, as on every other
machine. Protocol: pulumi/proto/language.proto.
"""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from google.protobuf import empty_pb2
from pulumi._version import version
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

from local.machine.plugin import serve

RUNNER = "TLFIF_PYTHON_RUNNER"
# What a program declares lives until it ends: to look for garbage would take a third of it.
_START = """
import gc, runpy, sys
gc.disable()
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
# The program has said itself what is wrong (pulumi-language-python-exec).
BAILED = 32


class LanguageHost(language_pb2_grpc.LanguageRuntimeServicer):
    """Runs the program when the engine says so; one at a time."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._program: subprocess.Popen[bytes] | None = None

    def Handshake(self, request: Any, context: Any) -> Any:
        self._engine = request.engine_address or self._engine
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo(version=str(version))

    def GetRequiredPackages(self, request: Any, context: Any) -> Any:
        return language_pb2.GetRequiredPackagesResponse()

    def GetRequiredPlugins(self, request: Any, context: Any) -> Any:
        return language_pb2.GetRequiredPluginsResponse()

    def RuntimeOptionsPrompts(self, request: Any, context: Any) -> Any:
        return language_pb2.RuntimeOptionsResponse()

    def About(self, request: Any, context: Any) -> Any:
        return language_pb2.AboutResponse(executable=sys.executable, version=sys.version.split()[0])

    def Run(self, request: Any, context: Any) -> Any:
        root = Path(request.info.root_directory)
        python = root / ".venv" / "bin" / "python"
        if not python.exists():
            return language_pb2.RunResponse(
                error=f"{root.name} has no .venv; make it with: make setup-local"
            )
        self._program = subprocess.Popen(
            [python, "-P", "-c", _START, os.environ[RUNNER], *self._arguments(request)],
            cwd=request.pwd or root,
            env={**os.environ, **_configuration(request)},
        )
        return _response(self._program.wait())

    def _arguments(self, request: Any) -> list[str]:
        options = {
            "monitor": request.monitor_address,
            "engine": self._engine,
            "project": request.project,
            "root_directory": request.info.root_directory,
            "stack": request.stack,
            "organization": request.organization,
            "pwd": request.pwd,
            "parallel": str(request.parallel),
        }
        options |= {"dry_run": "true"} if request.dryRun else {}
        named = [word for name, value in options.items() for word in (f"--{name}", value) if value]
        return [*named, request.info.program_directory or request.pwd, *request.args]

    def Cancel(self, request: Any, context: Any) -> Any:
        self.end()
        return empty_pb2.Empty()

    def end(self) -> None:
        """Ends the program, if it runs."""
        if self._program is not None and self._program.poll() is None:
            self._program.terminate()


def _configuration(request: Any) -> dict[str, str]:
    return {
        "PULUMI_CONFIG": json.dumps(dict(request.config)),
        "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
    }


def _response(code: int) -> Any:
    if code == 0:
        return language_pb2.RunResponse()
    if code == BAILED:
        return language_pb2.RunResponse(bail=True)
    return language_pb2.RunResponse(error=f"the program ended with exit code {code}")


def main() -> None:
    """Serves until the engine goes: `language_host [options] <the engine's address>`."""
    host = LanguageHost(sys.argv[-1])
    serve(partial(language_pb2_grpc.add_LanguageRuntimeServicer_to_server, host), host.end)


if __name__ == "__main__":
    main()
