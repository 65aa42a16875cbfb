"""What `make pipeline` refuses before anything starts."""

import argparse

import pytest

from local.commands.pipeline import run, told_by
from local.commands.shared import CommandError

pytestmark = pytest.mark.story("CI-001")


def test_a_stages_variables_are_told_as_they_are() -> None:
    told = told_by(["TEST_ARGS=--no-check -k a=b", "DEPLOY_ARGS="])
    assert told == {"TEST_ARGS": "--no-check -k a=b", "DEPLOY_ARGS": ""}


@pytest.mark.parametrize("setting", ["TEST_ARGS", "=x"])
def test_what_is_no_variable_is_refused(setting: str) -> None:
    with pytest.raises(CommandError, match="it is NAME=value, such as TEST_ARGS=tests/tlfif"):
        told_by([setting])


async def test_a_commit_that_is_not_there_is_one_line() -> None:
    given = argparse.Namespace(stack="dev", revision="no-such-branch", set=[])
    with pytest.raises(CommandError, match=r"^git rev-parse in [^\n]*$"):
        await run(given, 0)
