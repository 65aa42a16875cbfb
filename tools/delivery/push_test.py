"""`make push-test`: what each push is held against, within five minutes on two processors.

Beside one another, `make check` (lint, formatting, types, contracts, dead names) and the tests of
the push's selection (tests/support/pushed.py), with their coverage: below the limit in
pyproject.toml it fails. The first failure ends both. `dist/coverage/` has the coverage's pages,
`dist/junit.xml` each test.

Where PUSH_TEST_LIMIT_S is set, as in the pipeline, taking longer is a failure, too; it counts from
PUSH_TEST_BEGAN (epoch s), when the build began, where that is told. A person's machine has no such
limit: others use it.

With arguments for pytest only the tests that they choose run, and no coverage is demanded.
"""

import argparse
import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from recording.model import ROOT

LIMIT_S = 300.0
LIMIT_VARIABLE, BEGAN_VARIABLE = "PUSH_TEST_LIMIT_S", "PUSH_TEST_BEGAN"
REPORTS = ROOT / "dist"
POLL_S = 0.1
# pytest ends its workers, and these what they have started.
_LEAVE_S = 20.0
CHECK, TESTS = "make check", "the tests"
_INTERRUPTED = 130


def check_command(python: str | None = None) -> list[str]:
    """What a person calls; the environment is there already."""
    return ["make", "--no-print-directory", *([f"PYTHON={python}"] if python else []), "check"]


def pytest_command(more: Sequence[str], reports: Path) -> list[str]:
    """pytest with the push's selection, or with what `more` chooses of it."""
    # Each reads all tests, and most of these wait for nothing: one more than there are processors.
    workers = str((os.cpu_count() or 1) + 1)
    selected = ["-m", "push", "--exitfirst", "-q", "-n", workers]
    reported = [f"--junitxml={reports / 'junit.xml'}", f"--cov-report=html:{reports / 'coverage'}"]
    covered = ["--cov", "--cov-report=term:skip-covered", *reported]
    undemanding = ["--cov-fail-under=0"] if more else []
    return [sys.executable, "-m", "pytest", *selected, *covered, *undemanding, *more]


def main() -> int:
    """0 when nothing failed, else 1; 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tools.delivery.push_test", description=__doc__)
    parser.add_argument("--no-check", action="store_true", help="the tests alone")
    arguments, more = parser.parse_known_args()
    REPORTS.mkdir(exist_ok=True)
    commands = {TESTS: pytest_command(more, REPORTS)}
    if not arguments.no_check:
        commands = {CHECK: check_command(sys.executable), **commands}
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        limit_s, before_s = told_limit(os.environ, time.time())
    except ValueError as error:
        parser.error(str(error))
    try:
        return run(commands, limit_s, before_s)
    except KeyboardInterrupt:
        print("push test: interrupted", file=sys.stderr)
        return _INTERRUPTED


def told_limit(environment: Mapping[str, str], now: float) -> tuple[float | None, float]:
    """The limit in s, None where there is none, and how long it had taken before this process.

    Raises ValueError with the variable, its value and what it should be.
    """
    found: list[float | None] = []
    for name in (LIMIT_VARIABLE, BEGAN_VARIABLE):
        text = environment.get(name, "").strip()
        try:
            found.append(float(text) if text else None)
        except ValueError:
            raise ValueError(f"{name} = {text!r}: it is a number of seconds") from None
    limit_s, began = found
    return limit_s, 0.0 if began is None else max(0.0, now - began)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def run(
    commands: Mapping[str, Sequence[str]], limit_s: float | None = None, before_s: float = 0
) -> int:
    """Runs them beside one another until all have ended well, or the first has not, whose name is
    the last line then; the last one's words are seen at once, the others' when they fail.

    More than `limit_s` in all, with what had been taken before, is a failure.
    """
    began = time.monotonic()
    *quiet, _ = commands
    with contextlib.ExitStack() as files:
        said = {name: files.enter_context(tempfile.TemporaryFile()) for name in quiet}
        with contextlib.ExitStack() as processes:
            running = {
                name: processes.enter_context(_running(command, said.get(name)))
                for name, command in commands.items()
            }
            failed = _first_failure(running, began)
        if failed in said:
            _show(said[failed])
    took_s = time.monotonic() - began + before_s
    late = took_s > (LIMIT_S if limit_s is None else limit_s)
    over = f": a test stage has {LIMIT_S if limit_s is None else limit_s:g} s" if late else ""
    set_up = f" with {before_s:.0f} s before it" if before_s else ""
    print(f"push test: {took_s:.0f} s{set_up}, {_cpu_s():.0f} s of processors{over}", flush=True)
    if failed:
        print(f"push test: {failed} failed", file=sys.stderr)
    elif late and limit_s is not None:
        print("push test: it took too long", file=sys.stderr)
    return 1 if failed or (late and limit_s is not None) else 0


def _first_failure(running: Mapping[str, "subprocess.Popen[bytes]"], began: float) -> str | None:
    left = dict(running)
    while left:
        for name, process in list(left.items()):
            code = process.poll()
            if code is None:
                continue
            if code:
                return name
            del left[name]
            print(f"push test: {name} passed after {time.monotonic() - began:.0f} s", flush=True)
        time.sleep(POLL_S)
    return None


@contextlib.contextmanager
def _running(command: Sequence[str], to: IO[bytes] | None) -> Iterator["subprocess.Popen[bytes]"]:
    """The command in a process group of its own, which ends with the block."""
    beside = subprocess.STDOUT if to else None
    # Another make's flags and its job server are not for this one.
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLA"))}
    with subprocess.Popen(
        command, cwd=ROOT, env=kept, stdout=to, stderr=beside, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    for sent in (signal.SIGINT, signal.SIGKILL):
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sent)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_LEAVE_S)


def _show(said: IO[bytes]) -> None:
    said.seek(0)
    sys.stdout.write(said.read().decode(errors="replace"))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
