"""Processes that read nothing: each is forked from one that has read Pulumi, its classes and AWS's
models already, which takes a program or a plugin three seconds otherwise.

    python -m support.forks SOCKET

serves until it is ended; support/forked.py is what runs in a forked process's place.
"""

import contextlib
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import sys
import threading
import traceback
from typing import Any, NoReturn

import boto3
from support import made_once

import components
from recording import kinds

# What the provider asks moto for.
SERVICES = (
    "apigateway", "budgets", "cloudwatch", "cognito-idp", "ec2", "events", "iam", "lambda", "logs",
    "s3", "sns", "ssm",
)  # fmt: skip
PLUGINS = ("local.engine.language_host", "local.deployment.provider.__main__")


def _read() -> None:
    """Imports whatever a stack's program and its plugins import."""
    made_once.begin()
    for kind in kinds.KINDS.values():
        provider, _, rest = kind.token.partition(":")
        with contextlib.suppress(ImportError):
            importlib.import_module(f"pulumi_{provider}.{rest.partition('/')[0]}")
    for found in pkgutil.iter_modules(components.__path__, "components."):
        importlib.import_module(found.name)
    for plugin in PLUGINS:
        importlib.import_module(plugin)
    session = boto3.Session("none", "none", region_name="us-east-1")
    for service in SERVICES:
        session.client(service)


def main() -> None:
    """Serves."""
    _read()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sys.argv[1])
        listener.listen()
        print("ready", flush=True)
        while True:
            asked, _ = listener.accept()
            _forget_the_ended()
            with asked:
                if not os.fork():
                    listener.close()
                    _become(asked)


def _forget_the_ended() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _become(asked: socket.socket) -> NoReturn:
    """Is, in this process, what the other end says; dies with it."""
    code = 1
    try:
        length, streams, _, _ = socket.recv_fds(asked, 8, 3)
        told = _read_all(asked, int.from_bytes(length, "big"))
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.chdir(told["folder"])
        os.environ.clear()
        os.environ.update(told["environment"])
        sys.argv = told["arguments"]
        threading.Thread(target=_end_with, args=(asked,), daemon=True).start()
        if told["module"]:
            importlib.import_module(told["module"]).main()
        else:
            runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with contextlib.suppress(OSError):
        asked.sendall(bytes([code]))
    os._exit(code)


def _read_all(asked: socket.socket, length: int) -> dict[str, Any]:
    with asked.makefile("rb") as file:
        return json.loads(file.read(length))


def _end_with(asked: socket.socket) -> None:
    """When the other end is gone, this process is told to end, too."""
    with contextlib.suppress(OSError):
        asked.recv(1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
