"""`make push-test`: the first failure ends all of it, and what is missing in tests is a failure."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from local.pipeline import buildspec
from recording.model import ROOT
from tools.delivery import push_test

pytestmark = pytest.mark.story("CI-002")

SETTINGS = (ROOT / "pyproject.toml").read_text()
PASSES = ("-c", "print('said')")
# Writes that it ends when it is told to.
WAITS = ("-c", "import sys, time\ntry: time.sleep(60)\nfinally: open(sys.argv[1], 'w').close()")


def python(**named: Sequence[str]) -> Mapping[str, Sequence[str]]:
    return {name: [sys.executable, *arguments] for name, arguments in named.items()}


def test_it_passes_when_both_do_and_says_how_long_it_took(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert push_test.run(python(check=PASSES, tests=PASSES)) == 0
    out, err = capfd.readouterr()
    assert out.count("said") == 1, "lint is heard when it fails"
    assert out.splitlines()[-1].startswith("push test: 0 s, ")
    assert err == ""


@pytest.mark.parametrize("failing", ["check", "tests"])
def test_the_first_failure_ends_the_other_and_is_named(
    failing: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ended = tmp_path / "ended"
    waiting = "tests" if failing == "check" else "check"
    # Beside one another: the one that fails waits until the other has begun.
    begun = tmp_path / "begun"
    waits = ("-c", f"open({str(begun)!r}, 'w').close()\n{WAITS[1]}", str(ended))
    fails = (
        "-c",
        "import pathlib, time\n"
        f"while not pathlib.Path({str(begun)!r}).exists(): time.sleep(0.01)\n"
        "print('a line too long')\nraise SystemExit(1)",
    )
    commands = {"check": (), "tests": (), **{failing: fails, waiting: waits}}
    assert push_test.run(python(**commands)) == 1
    out, err = capfd.readouterr()
    assert "a line too long" in out
    assert err.splitlines()[-1] == f"push test: {failing} failed"
    assert ended.exists(), "it was told, and could clean up"


def test_what_is_interrupted_leaves_nothing_behind(tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    waits = ["-c", f"open({str(begun)!r}, 'w').close()\n{WAITS[1]}", str(ended)]
    code = (
        "import sys\nfrom tools.delivery import push_test\n"
        f"push_test.pytest_command = lambda *_: [sys.executable, *{waits!r}]\n"
        "sys.argv[1:] = ['--no-check']\nsys.exit(push_test.main())"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        while not begun.exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.communicate()[1].splitlines()[-1] == "push test: interrupted"
    assert process.returncode == 130
    assert ended.exists()


def test_the_tests_are_the_push_s_end_with_the_first_and_are_reported(tmp_path: Path) -> None:
    command = push_test.pytest_command([], tmp_path)
    assert command[1:6] == ["-m", "pytest", "-m", "push", "--exitfirst"]
    assert f"--cov-report=html:{tmp_path}/coverage" in command
    assert f"--junitxml={tmp_path}/junit.xml" in command
    assert not [each for each in command if each.startswith("--cov-fail-under")], "as configured"
    assert "--cov-fail-under=0" in push_test.pytest_command(["tests/gui"], tmp_path)


@pytest.mark.integration
@pytest.mark.parametrize(("covered", "code"), [(9, 0), (5, 1)])
def test_coverage_below_ninety_percent_fails(covered: int, code: int, tmp_path: Path) -> None:
    """By this repository's limit, of a module with nine branches."""
    limit = re.search(r"^\[tool.coverage.report\]\nfail_under = 90\b", SETTINGS, re.MULTILINE)
    assert limit
    branches = "\n".join(f"    if x == {n}: return {n}" for n in range(9))
    (tmp_path / "few.py").write_text(f"def few(x):\n{branches}\n")
    calls = "\n".join(f"    assert few({n}) == {n}" for n in range(covered))
    (tmp_path / "test_few.py").write_text(
        f"import pytest\nfrom few import few\n\n@pytest.mark.push\ndef test_few():\n{calls}\n"
    )
    (tmp_path / "pyproject.toml").write_text(
        "[tool.coverage.run]\nbranch = true\nsource = ['.']\nomit = ['test_*']\n"
        f"{limit[0]}\n[tool.pytest.ini_options]\nmarkers = ['push']\npythonpath = ['.']\n"
        "asyncio_default_fixture_loop_scope = 'function'\n"
    )
    command = [*push_test.pytest_command([], tmp_path / "dist"), "-n", "0"]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("COV")}
    done = subprocess.run(
        command, cwd=tmp_path, env=kept, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert (tmp_path / "dist/coverage/index.html").exists()
    assert (tmp_path / "dist/junit.xml").exists()


def test_what_takes_too_long_fails_where_there_is_a_limit(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """With what had been taken before it: the set-up of a build."""
    assert push_test.run(python(tests=PASSES), limit_s=300, before_s=10) == 0
    assert " s with 10 s before it, " in capfd.readouterr().out
    assert push_test.run(python(tests=PASSES), limit_s=300, before_s=300) == 1
    out, err = capfd.readouterr()
    assert out.splitlines()[-1].endswith(" of processors: a test stage has 300 s")
    assert err == "push test: it took too long\n"
    # Nobody's own machine is held against it.
    assert push_test.run(python(tests=PASSES), before_s=301) == 0
    assert "a test stage has 300 s" in capfd.readouterr().out


def test_the_limit_is_told_by_the_environment() -> None:
    assert push_test.told_limit({}, 1000) == (None, 0)
    told = {"PUSH_TEST_LIMIT_S": "300", "PUSH_TEST_BEGAN": "960"}
    assert push_test.told_limit(told, 1000) == (300, 40)
    assert push_test.told_limit({**told, "PUSH_TEST_LIMIT_S": ""}, 1000) == (None, 40)
    with pytest.raises(ValueError, match=r"^PUSH_TEST_BEGAN = 'now': it is a number of seconds$"):
        push_test.told_limit({"PUSH_TEST_BEGAN": "now"}, 1000)


def test_the_pipelines_test_stage_has_the_limit_from_its_first_command() -> None:
    spec = buildspec.read(ROOT / "delivery/test.yml", "delivery/test.yml")
    assert spec.env.variables == {"PUSH_TEST_LIMIT_S": str(int(push_test.LIMIT_S))}
    assert spec.phases.install is not None
    assert spec.phases.install.commands[0].startswith("export PUSH_TEST_BEGAN=")
