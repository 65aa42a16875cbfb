"""EC2's quota of vCPUs for GPUs, which a new account has none of, is named before it is met."""

import logging
from typing import Any

import pytest
from support.program import INSTANCE, evaluate

from recording.engine import InvokeRefused
from recording.invented import RecordingBackend


class Account(RecordingBackend):
    """An account with so many vCPUs; one of None has no right to ask."""

    def __init__(self, vcpus: int | None) -> None:
        super().__init__("dev", "us-east-1")
        self._vcpus = vcpus

    def call(self, args: Any) -> dict[str, Any]:
        if "getServiceQuota" not in args.token:
            return super().call(args)
        assert args.args == {"serviceCode": "ec2", "quotaCode": "L-DB2E81BA"}
        if self._vcpus is None:
            raise InvokeRefused("AccessDeniedException: not authorized\nrequest id 1")
        return {**args.args, "value": self._vcpus}


def said(caplog: pytest.LogCaptureFixture, vcpus: int | None, count: int) -> list[str]:
    with caplog.at_level(logging.INFO):
        recording = evaluate("dev", Account(vcpus), config={"tl-fif:gpu": {"count": count}})
    assert len(recording.of_type(INSTANCE)) == count
    return [r.message for r in caplog.records if "vCPU" in r.message or "quota" in r.message]


@pytest.mark.story("EC2-001")
def test_an_account_without_gpus_is_told_what_to_ask_for(caplog: pytest.LogCaptureFixture) -> None:
    [warning] = said(caplog, 0, 2)
    assert warning.startswith("gpu:count = 2: the nodes need 8 vCPUs, and this account may run 0 ")
    assert "--region us-east-1 --service-code ec2 --quota-code L-DB2E81BA" in warning
    assert warning.endswith("--desired-value 8")


def test_one_with_enough_is_told_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert said(caplog, 4, 1) == []


def test_who_may_not_ask_can_preview_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    [line] = said(caplog, None, 1)
    assert line.startswith("EC2's quota L-DB2E81BA was not read, the nodes need 4 vCPUs: ")
    assert line.endswith("AccessDeniedException: not authorized")
