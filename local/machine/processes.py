"""Child processes that never outlive the local cloud, however it ends."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from local.machine import reaper

Ready = Callable[[], Awaitable[object]]

_POLL_S = 0.02
_TAIL_LINES = 15
_READ_BYTES = 1 << 16

# The child itself tells the reaper its session before it becomes the command: no moment exists in
# which the parent can die and leave it unknown. The shell's own variables are taken away again: a
# Lambda worker's environment is exact.
_LAUNCHER = 'echo "+$$" >&0; unset PWD OLDPWD SHLVL; exec "$@" </dev/null'


class ProcessError(RuntimeError):
    """A child did not become ready; the message names it and shows the end of its log."""


class Process:
    """One running child, the leader of its own session and process group."""

    def __init__(
        self,
        name: str,
        child: asyncio.subprocess.Process,
        output: "_Output",
        on_exit: Callable[["Process", int], None],
    ):
        self.name = name
        self.pid = child.pid
        self._child = child
        self._output = output
        self._on_exit = on_exit
        self._ended = asyncio.create_task(self._watch(), name=f"watch {name}")

    @property
    def log(self) -> Path:
        """The file that receives what the child writes to stdout and stderr."""
        return self._output.path

    @property
    def returncode(self) -> int | None:
        """None while the child runs; its exit code, or minus the signal that ended it."""
        return self._child.returncode

    async def wait(self) -> int:
        """Waits until the child and its whole session are gone; returns its exit code."""
        return await asyncio.shield(self._ended)

    def drain(self) -> None:
        """Delivers to `on_line` what the child has written up to now."""
        self._output.drain()

    def kill(self) -> None:
        """SIGKILL to the whole group, without waiting; it ends what is frozen too."""
        self._signal(signal.SIGKILL)

    def freeze(self) -> None:
        """Nothing of the whole group runs until `thaw`, or until it is ended."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """The group runs again where it was frozen; nothing happens to one that runs."""
        self._signal(signal.SIGCONT)

    async def stop(self, grace_s: float = 5.0) -> int:
        """SIGTERM to the whole group, SIGKILL after the grace; returns the exit code, also of an
        ended child.
        """
        self._signal(signal.SIGTERM)
        # What is frozen, by whomever, would hear of it only now.
        self.thaw()
        try:
            async with asyncio.timeout(grace_s):
                return await self.wait()
        except TimeoutError:
            self.kill()
            return await self.wait()

    def _signal(self, number: signal.Signals) -> None:
        if not self._ended.done():
            _signal_group(self.pid, number)

    async def _watch(self) -> int:
        code = await self._child.wait()
        # What the leader started ends with it, in groups of their own too.
        reaper.kill_session(self.pid)
        self._output.close()
        self._on_exit(self, code)
        return code


class Processes:
    """The children of one local cloud: `async with Processes(log_dir) as procs`, then `await
    procs.start(…)`.

    Leaving the block stops them all, the last started first. Each is in its own session, so that
    Ctrl-C reaches the parent alone. When the parent dies without leaving the block, a reaper
    process kills them.
    """

    def __init__(self, log_dir: Path):
        self.log_dir = log_dir
        self._running: list[Process] = []

    async def __aenter__(self) -> "Processes":
        self.log_dir.mkdir(parents=True, exist_ok=True)
        reading, self._lifeline = os.pipe()
        # -I -S: the reaper needs nothing but the standard library, and is up in a few milliseconds.
        reaping = [sys.executable, "-I", "-S", str(Path(reaper.__file__))]
        self._reaper = await asyncio.create_subprocess_exec(
            *reaping,
            stdin=reading,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(reading)
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            while self._running:
                await self._running[-1].stop()
        finally:
            # Ends the reaper too; were this block left early, it would kill what still runs.
            os.close(self._lifeline)
            await self._reaper.wait()

    async def start(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        ready: Ready | None = None,
        timeout: float = 30.0,
        on_line: Callable[[str], None] | None = None,
        on_exit: Callable[[int], None] | None = None,
    ) -> Process:
        """Starts one child; its output goes to `log_dir`/`name`.log and, line by line, to
        `on_line`.

        `on_exit` is called once with the exit code, however the child ends. `env` None means this
        process's own. With `ready`, returns once that answers something true; it is asked again and
        again, and may raise until then. Raises ProcessError when the child ends first or `timeout`
        seconds pass.
        """
        output = _Output(self.log_dir / f"{name}.log", on_line)
        with output.for_child() as stream:
            child = await asyncio.create_subprocess_exec(
                *("/bin/sh", "-c", _LAUNCHER, name, *map(str, argv)),
                env=env,
                cwd=cwd,
                stdin=self._lifeline,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )

        def ended(process: Process, code: int) -> None:
            self._ended(process, code, on_exit)

        process = Process(name, child, output, ended)
        self._running.append(process)
        if ready is not None:
            await self._until_ready(process, ready, timeout)
        return process

    def _ended(self, process: Process, code: int, on_exit: Callable[[int], None] | None) -> None:
        self._running.remove(process)
        with contextlib.suppress(OSError):
            os.write(self._lifeline, f"-{process.pid}\n".encode())
        if on_exit is not None:
            on_exit(code)

    async def _until_ready(self, process: Process, ready: Ready, timeout: float) -> None:
        attempt = _Attempt(ready)
        try:
            async with asyncio.timeout(timeout):
                while not await attempt.succeeds():
                    if process.returncode is not None:
                        ending = _ending(await process.wait())
                        raise ProcessError(f"{process.name} {ending} while starting")
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            await process.stop()
            message = f"{process.name} was not ready in {timeout:g} s{attempt.why}"
            raise ProcessError(_with_tail(message, process)) from None
        except ProcessError as error:
            raise ProcessError(_with_tail(str(error), process)) from None
        except BaseException:
            process.kill()
            raise


class _Attempt:
    """Asks a readiness check, and remembers why it last said no."""

    def __init__(self, ready: Ready):
        self._ready = ready
        self.why = ""

    async def succeeds(self) -> bool:
        try:
            return bool(await self._ready())
        except Exception as error:
            self.why = f" ({type(error).__name__}: {error})"
            return False


class _Output:
    """What one child writes: straight into its log file, or through a pipe when somebody listens to
    the lines.
    """

    def __init__(self, path: Path, on_line: Callable[[str], None] | None):
        self.path = path
        self._file = path.open("ab", buffering=0)
        self._on_line = on_line
        self._rest = b""
        self._pipe: int | None = None

    @contextlib.contextmanager
    def for_child(self) -> Iterator[IO[bytes] | int]:
        """The stream to hand to the child; this process closes its own copy afterwards."""
        if self._on_line is None:
            yield self._file
            return
        self._pipe, writing = os.pipe()
        os.set_blocking(self._pipe, False)
        asyncio.get_running_loop().add_reader(self._pipe, self.drain)
        try:
            yield writing
        finally:
            os.close(writing)

    def drain(self) -> None:
        """Takes what the pipe holds now: an answer over HTTP may be seen before the lines that were
        written first.
        """
        while self._pipe is not None:
            try:
                data = os.read(self._pipe, _READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                self._close_pipe()
                return
            self._take(data)

    def close(self) -> None:
        self.drain()
        self._close_pipe()
        if self._rest:
            self._take(b"\n")
        self._file.close()

    def _take(self, data: bytes) -> None:
        self._file.write(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if self._on_line is not None:
                self._on_line(line.decode(errors="replace"))

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            asyncio.get_running_loop().remove_reader(self._pipe)
            os.close(self._pipe)
            self._pipe = None


def _signal_group(group: int, number: signal.Signals) -> None:
    # macOS answers PermissionError for a group of which only a zombie is left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was ended by {signal.Signals(-code).name}"


def _with_tail(message: str, process: Process) -> str:
    lines = process.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
    if not lines:
        return f"{message}; it wrote nothing"
    return "\n".join([f"{message}; the end of {process.log}:", *(f"    {line}" for line in lines)])
