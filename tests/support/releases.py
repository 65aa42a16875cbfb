"""A deployed router in this process, and one run of the command after the other."""

from dataclasses import dataclass, field

from support.fake_lambda import PROBE_ARN, ROUTER_ARN, FakeAlarms, FakeLambda

from tlfif import environment
from tools.delivery.shifting import Deployment, Outcome, Pace, Plan
from tools.delivery.versions import Router

COMMIT = "0123456789abcdef0123456789abcdef01234567"
VARIABLES = environment.Router.variables(
    redis_host="queue",
    redis_port=6379,
    stack="dev",
    replies_bucket="replies",
    gpu_count=1,
    gpu_slots=4,
    user_pool_id="us-east-1_pool",
    client_id="client",
    backlog_cap=100,
    idle_minutes=5,
    cap_eur=20.0,
)
ALARMS = ["router-errors", "api-errors"]


class Clock:
    """Time passes when somebody waits."""

    def __init__(self) -> None:
        self.time = 0.0

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    def now(self) -> float:
        return self.time


@dataclass
class World:
    """A deployed router; `deploy` is one run of the command."""

    aws: FakeLambda = field(default_factory=lambda: FakeLambda(dict(VARIABLES)))
    alarms: FakeAlarms = field(default_factory=lambda: FakeAlarms(list(ALARMS)))
    said: list[str] = field(default_factory=list)
    # Whether it was decided which version serves: from then on no signal is heard.
    decided: bool = False

    @property
    def router(self) -> Router:
        return Router(self.aws, ROUTER_ARN, lambda seconds: None)

    def deploy(self, code: bytes, minutes: float = 0.5) -> Outcome:
        plan = Plan(percent=10, minutes=minutes, alarms=ALARMS, probe_arn=PROBE_ARN)
        clock = Clock()
        pace = Pace(60, clock.sleep, clock.now)
        self.decided = False
        deployment = Deployment(
            self.router, self.aws, self.alarms, plan, pace, self.said.append, self._decide
        )
        return deployment.run(code, f"{COMMIT} a subject")

    def _decide(self) -> None:
        self.decided = True

    @property
    def serving(self) -> tuple[str, dict[str, float]]:
        return self.aws.alias["FunctionVersion"], dict(self.aws.weights())
