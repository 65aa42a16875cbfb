"""The scripted model of one node as a process of its own, whose evidence outlives its kills.

    python -m support.chaos.engine --port 8000 --announce FILE --evidence FILE

`PUT /mode/{mode}` sets `ScriptedModel.mode` ("none": as the prompts say), until this process ends;
`GET /running` tells how many answers it is generating.
"""

import argparse
import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from support.scripted_model import WORD, ScriptedModel

from local.machine.ports import listen
from local.machine.serving import serving

ASKED, GENERATED = "asked", "generated"


class Evidence:
    """One line for each request and each token, from every engine there was: tries are counted over
    all of them, as a job may be tried anywhere.
    """

    def __init__(self, path: Path):
        self.path = path
        self.counts: Counter[tuple[str, str]] = Counter()
        self._read = 0

    def write(self, what: str, job: str) -> None:
        """Written at once and whole: the next line may be a kill."""
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{what} {job}\n".encode())
        os.close(file)

    def read(self) -> None:
        """Counts what has been written since the last time."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            lines = file.read()
        self._read += len(lines)
        self.counts.update(tuple(line.split(" ", 1)) for line in lines.decode().splitlines())


class Engine(ScriptedModel):
    """A scripted model that leaves evidence."""

    def __init__(self, evidence: Evidence) -> None:
        super().__init__()
        self._evidence = evidence
        self.app.router.routes += [
            Route("/mode/{mode}", self._set_mode, methods=["PUT"]),
            Route("/running", self._tell_running),
        ]

    async def _set_mode(self, request: Request) -> Response:
        mode = request.path_params["mode"]
        self.mode = "" if mode == "none" else mode
        return Response()

    async def _tell_running(self, _: Request) -> Response:
        return JSONResponse(self.running)

    async def _complete(self, request: Request) -> Response:
        if self.mode == "hung" and not (await request.json()).get("stream"):
            # A probe meets the same silence.
            await asyncio.Event().wait()
        return await super()._complete(request)

    def _count(self, prompt: str, script: dict[str, str]) -> int:
        self._evidence.write(ASKED, script["job"])
        self._evidence.read()
        return self._evidence.counts[ASKED, script["job"]]

    async def _stream(self, request: Request, script: dict[str, str]) -> AsyncIterator[bytes]:
        async for piece in super()._stream(request, script):
            if "job" in script and f'"{WORD}"'.encode() in piece:
                self._evidence.write(GENERATED, script["job"])
            yield piece


async def _serve(port: int, evidence: Path) -> None:
    async with serving(Engine(Evidence(evidence)).app, listen(port, "the engine")):
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--announce", type=Path, required=True, help="gets the port")
    parser.add_argument("--evidence", type=Path, required=True)
    args = parser.parse_args()
    args.announce.write_text(str(args.port))
    asyncio.run(_serve(args.port, args.evidence))
