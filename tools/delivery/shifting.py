"""One deployment of the router: a new version gets a part of the traffic, then all of it, or none.

Whatever ends it, the alias names versions that are there; what kills it at once (SIGKILL, a power
cut) is put right by the next deployment or by a rollback: until the new version has passed
everything, the alias is the old one's, with a weight of up to 1 for the new one.
"""

import json
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tlfif.environment import Router as RouterEnvironment
from tools.delivery.versions import (
    EVENT,
    LATEST,
    TRIES,
    DeliveryError,
    MovedError,
    Router,
    Serving,
    digest,
)

# Looks in a minute of the canary, and how long all of the traffic is watched: CloudWatch knows a
# minute's failures one to three minutes after it.
LOOKS_PER_MINUTE, SETTLING_MINUTES = 12, 3.0
FIRST = "what served before the first deployment"


class Stopped(BaseException):
    """Somebody ended the deployment: SIGTERM or SIGINT."""


@dataclass(frozen=True)
class Pace:
    """How long a minute is here, and how time passes."""

    seconds_per_minute: float = 60.0
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic

    def wait(self, seconds: float) -> None:
        """Lets so many seconds of an ordinary minute pass."""
        self.sleep(seconds / 60 * self.seconds_per_minute)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a new version comes to serve: `percent` of the traffic for `minutes`, then all of it."""

    percent: float
    minutes: float
    alarms: Sequence[str]
    probe_arn: str


@dataclass
class Outcome:
    """What a deployment came to: `version` serves (or would have), `previous` did before."""

    version: str = ""
    previous: str = ""
    previous_commit: str = ""
    trace: str = ""
    failure: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def unchanged(self) -> bool:
        """Whether there was nothing to deploy."""
        return self.version == self.previous and not self.failure


class Deployment:
    """`run` deploys one bundle; `say(line)` hears what happens while it does, and `decided()` is
    called when it is certain which version serves: nothing is taken back after it.

    `lambda_` and `cloudwatch` are clients; `router` is the function that is deployed.
    """

    def __init__(
        self,
        router: Router,
        lambda_: Any,
        cloudwatch: Any,
        plan: Plan,
        pace: Pace,
        say: Callable[[str], None],
        decided: Callable[[], None] = lambda: None,
    ) -> None:
        self._router, self._lambda, self._cloudwatch = router, lambda_, cloudwatch
        self._plan, self._pace, self._say = plan, pace, say
        self._decided = decided
        self._rang: set[str] = set()
        self.outcome = Outcome()

    def run(self, zipped: bytes, description: str) -> Outcome:
        """Deploys it; what failed is in the outcome, whose old version alone serves then.

        Raises DeliveryError, botocore's errors and Stopped when it ends before there is a new
        version.
        """
        serving = self._settled()
        self._require_environment()
        serving = self._pinned(serving)
        outcome = self.outcome
        outcome.version = outcome.previous = serving.version
        outcome.previous_commit = self._router.commit_of(serving.version)
        if self._router.is_served(serving, zipped):
            self._decided()
            self._note(f"version {serving.version} has this code and these settings already")
            return outcome
        self._router.take(zipped)
        outcome.version = self._router.publish(description, digest(zipped))
        self._say(f"version {outcome.version} is published")
        self._shift(serving)
        if outcome.failure:
            self._note(self._router.discard(outcome.version))
        else:
            self._prune()
        return outcome

    # --- before the shift

    def _settled(self) -> Serving:
        found, settled = self._router.settle()
        if found.weights:
            self._note(f"a deployment was never finished ({found}): {settled} alone serves")
        for each in found.weights:
            # One that is older has served before.
            if int(each) > int(settled.version):
                self._note(self._router.discard(each))
        return settled

    def _require_environment(self) -> None:
        """The version that is published takes its settings with it: they must be this commit's."""
        settings = self._router.settings()
        try:
            RouterEnvironment.read(settings.get("Environment", {}).get("Variables", {}))
        except (KeyError, ValueError) as error:
            lacks = f"lacks {error.args[0]}" if isinstance(error, KeyError) else f"has {error}"
            raise DeliveryError(
                f"the environment of {self._router.name} {lacks}, which this commit's router "
                "needs: pulumi up first"
            ) from error

    def _pinned(self, serving: Serving) -> Serving:
        """Callers of `$LATEST` would get the new code at once: before the first deployment what
        serves becomes a version.
        """
        if serving.version != LATEST:
            return serving
        version = self._router.publish(FIRST)
        self._router.wake(version)
        self._note(f"what served until now is version {version}")
        return self._router.move(serving, version, {})

    # --- the shift

    def _shift(self, serving: Serving) -> None:
        # Stopped comes once at most, also while a failure is put right: then it is done here.
        try:
            self._try_shift(serving)
        except Stopped as error:
            self._undo(str(error))
            self._decided()

    def _try_shift(self, serving: Serving) -> None:
        version = self.outcome.version
        try:
            self._router.wake(version)
            self._require_answers(version)
            self._wake_old(serving.version)
            now = self._canary(serving)
            self._integrate()
            # Only now: who finds this version alone may take it for a good one.
            self._router.move(now, version, {})
            self._decided()
        except Exception as error:
            self._undo(str(error))
            self._decided()
        else:
            self._note(f"version {version} serves all of the traffic")

    def _wake_old(self, version: str) -> None:
        """What serves cannot take its part of the traffic while it is Inactive; that it cannot run
        at all is no reason against the new one.
        """
        try:
            self._router.wake(version)
        except DeliveryError as error:
            self._note(str(error))

    def _canary(self, serving: Serving) -> Serving:
        """Has all of the traffic in the end; returns what the alias names then."""
        version, plan = self.outcome.version, self._plan
        self._rang = self._ringing()
        for name in sorted(self._rang):
            self._note(f"{name} rings already, and does not count")
        if self._one_role(serving.version, version):
            now = self._router.move(serving, serving.version, {version: plan.percent / 100})
            self._say(f"version {version} gets {plan.percent:g} % for {plan.minutes:g} min")
            self._watch(now, plan.minutes)
            now = self._router.move(now, serving.version, {version: 1.0})
        else:
            self._note(
                f"version {version} has another execution role than version {serving.version}, and "
                "Lambda lets no alias be shared by two: it gets all of the traffic at once"
            )
            now = self._router.move(serving, version, {})
        self._say(f"version {version} gets all of the traffic")
        self._watch(now, SETTLING_MINUTES)
        return now

    def _one_role(self, *versions: str) -> bool:
        return len({self._router.settings(each).get("Role") for each in versions}) == 1

    def _watch(self, expected: Serving, minutes: float) -> None:
        """Looks again and again for so long, and once more at the end."""
        end = self._pace.now() + minutes * self._pace.seconds_per_minute
        while True:
            last = self._pace.now() >= end
            self._look(expected)
            if last:
                return
            self._pace.wait(60 / LOOKS_PER_MINUTE)

    def _look(self, expected: Serving) -> None:
        version = self.outcome.version
        found = self._router.serving()
        if found.revision != expected.revision:
            raise MovedError(f"somebody else moved the alias: it names {found}")
        ringing = self._ringing()
        # One that has calmed down counts from then on.
        self._rang &= ringing
        if new := sorted(ringing - self._rang):
            raise DeliveryError(f"{', '.join(new)} rings")
        self._require_answers(version)

    def _require_answers(self, version: str) -> None:
        if wrong := self._wrong(version):
            raise DeliveryError(f"version {version} is bad: {wrong}")

    def _ringing(self) -> set[str]:
        if not self._plan.alarms:
            return set()
        names = list(self._plan.alarms)
        found = self._cloudwatch.describe_alarms(AlarmNames=names)["MetricAlarms"]
        states = {each["AlarmName"]: each["StateValue"] for each in found}
        if missing := sorted(set(names) - states.keys()):
            raise DeliveryError(f"there is no alarm {missing[0]} to end a canary: pulumi up first")
        return {name for name, state in states.items() if state == "ALARM"}

    def _wrong(self, version: str) -> str:
        """What is wrong with a version that does not answer well in some tries, "" if one did."""
        wrong = ""
        for tried in range(TRIES):
            if tried:
                self._pace.wait(1)
            trace = f"1-{int(time.time()):08x}-{secrets.token_hex(12)}"
            wrong = self._router.call(version, EVENT, trace)
            if not wrong:
                self.outcome.trace = trace
                return ""
        return f"{wrong} ({TRIES} times in a row)"

    def _integrate(self) -> None:
        """/ping and /queue-health, asked from inside the VPC by the stack's own probe."""
        wrong = ""
        for tried in range(TRIES):
            if tried:
                self._pace.wait(5)
            wrong = self._asked()
            if not wrong:
                self._note("the integration test: /ping and /queue-health are ok from the VPC")
                return
        raise DeliveryError(f"the integration test fails: {wrong}")

    def _asked(self) -> str:
        answer = self._lambda.invoke(FunctionName=self._plan.probe_arn, Payload=b"{}")
        said = json.loads(answer["Payload"].read() or b"null")
        good = {"ping": True, "queue-health": True}
        if not answer.get("FunctionError") and said == good:
            return ""
        return f"the probe answered {json.dumps(said)[:300]}"

    def _undo(self, failure: str) -> None:
        outcome = self.outcome
        outcome.failure = failure or "stopped"
        for tried in range(TRIES):
            try:
                found = self._router.restore(outcome.previous, outcome.version)
            except (DeliveryError, ClientError, BotoCoreError) as error:
                if tried == TRIES - 1:
                    self._note(f"the alias could not be moved back ({error}): make rollback")
                self._pace.wait(1)
            else:
                alone = "" if found.weights else " alone serves"
                self._note(f"{found}{alone}")
                return

    def _prune(self) -> None:
        try:
            gone = self._router.prune({self.outcome.previous})
        except (ClientError, BotoCoreError) as error:
            self._note(f"old versions could not be deleted: {error}")
            return
        if gone:
            self._note(f"deleted: version {', '.join(gone)}")

    def _note(self, line: str) -> None:
        self.outcome.notes.append(line)
        self._say(line)


def deaf() -> None:
    """From here on SIGTERM and SIGINT end nothing: what is left takes seconds."""
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)


@contextmanager
def stoppable() -> Iterator[None]:
    """Has SIGTERM and SIGINT raise Stopped, once: what is put right then is not interrupted."""

    def stop(number: int, _: FrameType | None) -> None:
        deaf()
        raise Stopped(f"stopped by {signal.Signals(number).name}")

    before = {each: signal.signal(each, stop) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
