"""Waits for the delivery pipeline's execution of a commit and ends as it ended: 0 when it
succeeded. A workflow that runs this is the pipeline's badge.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tools.bake.pipeline import Clock
from tools.outputs import amount
from tools.stage import StageError, client, ended

POLL_S = 15.0
RUNNING, SUCCEEDED = ("InProgress", "Stopping"), "Succeeded"
# So long after a push the pipeline may begin: a webhook, and executions that are queued before it.
BEGINS_MINUTES, ENDS_MINUTES = 15, 90
_PASSING = ("ThrottlingException", "Throttling", "RequestLimitExceeded", "ServiceUnavailable")
_WORDS = {
    "Superseded": "a later commit took its place",
    "Stopped": "somebody stopped it",
    "Cancelled": "the pipeline was changed meanwhile",
}
REAL = Clock()
_said = partial(print, flush=True)


@dataclass(frozen=True, kw_only=True)
class Follower:
    """Looks after one commit's execution of one pipeline."""

    codepipeline: Any
    name: str
    commit: str
    region: str
    clock: Clock = REAL
    say: Callable[[str], None] = _said

    def follow(self, begins_minutes: float, ends_minutes: float) -> None:
        """Returns when the execution has succeeded. Raises StageError."""
        began, last = self.clock.now(), ""
        while True:
            execution = self._newest()
            status = execution["status"] if execution else ""
            minutes = (self.clock.now() - began) / 60
            if execution and status != last:
                place = self._place(execution["pipelineExecutionId"])
                self.say(f"{minutes:5.1f} min  {status}  {place}")
                last = status
            if status == SUCCEEDED:
                return
            if execution and status not in RUNNING:
                why = execution.get("statusSummary") or _WORDS.get(status, "its page says why")
                place = self._place(execution["pipelineExecutionId"])
                raise StageError(f"{self.name}: {self.commit[:12]} {status}: {why}: {place}")
            if minutes >= (ends_minutes if execution else begins_minutes):
                what = "has not ended" if execution else "has not begun: does it watch this branch?"
                raise StageError(
                    f"{self.name}: after {minutes:.0f} min its execution of "
                    f"{self.commit[:12]} {what}"
                )
            self.clock.sleep(POLL_S)

    def _newest(self) -> dict[str, Any] | None:
        """The latest execution of the commit; None while there is none, or AWS is too busy."""
        try:
            # Newest first; who follows a commit does so when it is new.
            found = self.codepipeline.list_pipeline_executions(
                pipelineName=self.name, maxResults=100
            )
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "PipelineNotFoundException":
                raise StageError(f"there is no pipeline {self.name} in {self.region}") from None
            if code not in _PASSING:
                raise
            return None
        except BotoCoreError as error:
            self.say(f"asked again: {error}")
            return None
        for each in found["pipelineExecutionSummaries"]:
            if any(of.get("revisionId") == self.commit for of in each.get("sourceRevisions", ())):
                return each
        return None

    def _place(self, execution: str) -> str:
        console = f"https://{self.region}.console.aws.amazon.com/codesuite/codepipeline"
        return f"{console}/pipelines/{self.name}/executions/{execution}/timeline"


def main() -> int:
    """0 when the commit is delivered, 1 with one line of error."""
    parser = argparse.ArgumentParser(prog="python -m tools.delivery.follow", description=__doc__)
    parser.add_argument("--commit", required=True, help="its full id")
    parser.add_argument("--name", required=True, help="the stack's output pipeline_name")
    parser.add_argument("--region", help="where, instead of the environment's region")
    parser.add_argument("--begins", type=amount, default=BEGINS_MINUTES, help="minutes to wait")
    parser.add_argument("--ends", type=amount, default=ENDS_MINUTES, help="minutes to wait")
    given = parser.parse_args()
    return ended(lambda: _follow(given))


def _follow(given: argparse.Namespace) -> int:
    codepipeline = client("codepipeline", given.region)
    follower = Follower(
        codepipeline=codepipeline,
        name=given.name,
        commit=given.commit,
        region=codepipeline.meta.region_name,
    )
    follower.follow(given.begins, given.ends)
    return 0


if __name__ == "__main__":
    sys.exit(main())
