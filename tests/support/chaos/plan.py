"""What a chaos run does, from its seed alone: jobs, and blows placed by the run's own progress."""

import hashlib
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from support.scripted_model import GARBAGE

from tlfif import names

NODES = 2
USERS = 20
# Long enough to be claimed at once, short enough to expire behind a backlog.
FLEETING_TTL_S = 2
# Of 1000 jobs, how many are of a kind; the others are plain ones.
KINDS = {
    "slow": 40,  # several partial replies
    "short": 40,  # ends with finish_reason "length"
    "fleeting": 30,  # lives FLEETING_TTL_S unless a worker claims it
    "cancelled": 60,
    "passing": 100,  # fails once or twice, then not
    "lasting": 15,  # fails whenever it is tried
    "poison": 4,  # kills its engine whenever it is tried
    "refused": 10,  # the engine says that the request is at fault
}
# How a job may end that no blow from outside has met.
FATES = {
    "fleeting": {"done", "expired"},
    "cancelled": {"done", "cancelled"},
    "lasting": {"failed"},
    "poison": {"failed"},
    "refused": {"failed"},
}
# Of 1000 jobs, how often each blow falls; at least once in any run.
BLOWS = {
    "kill watcher": 16,
    "freeze watcher": 4,
    "kill engine": 12,
    "engine dead": 5,
    "engine away": 5,
    "engine hung": 5,
    "engine aborting": 3,
    "kill queue": 6,
    "wipe queue": 1.5,
    "stop": 1.5,
}
# The same, in a run whose stack has the instant lane.
LANE_BLOWS = {
    "lose nodes": 25,  # all are stopped, and EC2 has no other
    "kill lane": 30,
    "freeze lane": 10,  # and its connections are cut meanwhile
    "kill lane-engine": 6,
    "limit lane": 10,  # Lambda ends its next call early
    "call lane": 15,  # twice at once, whoever works
    "refuse call": 6,  # Lambda takes none for a while
    "lose call": 6,  # it takes the next, and its answer is lost
    "latch": 4,
    "refuse S3": 4,
}
# A run with the lane begins without nodes.
LOST_AT_FIRST_S = 6.0
# What the lane's processes are told, and the weights that they read.
EVIDENCE, FOLDER = "CHAOS_EVIDENCE", "CHAOS_FOLDER"
WEIGHTS = b"GGUF" + bytes(range(256)) * 64
# What the lane's function is told in place of tlfif.names, in s: what is waited for comes soon.
LANE_TIMES = {
    "HEARTBEAT_TTL_S": 4,
    "LET_GO_S": 2,
    "LEASE_IDLE_S": 3,
    "WAKE_TTL_S": 15,
    "LANE_WAKE_TTL_S": 4,
    "LANE_FAILURE_TTL_S": 4,
}
# Prompts that are longer are left to a node that is up or coming.
LANE_PROMPT_BYTES = 50
# With gpu:wake = backlog, nodes are woken for so many seconds of the lane's work.
WAKE_AFTER_S = 1.0
# For how long, in seconds, where a blow lasts: less than a lease, and longer.
LASTING_S = {
    "freeze watcher": (1.0, 6.0),
    "engine dead": (0.5, 4.0),
    "engine away": (0.5, 4.0),
    "engine hung": (0.5, 6.0),
    "engine aborting": (0.5, 3.0),
    "kill queue": (0.0, 2.0),
    "wipe queue": (0.0, 2.0),
    "lose nodes": (2.0, 9.0),
    "freeze lane": (1.0, 7.0),
    "limit lane": (1.0, 6.0),
    "refuse call": (0.5, 4.0),
    "latch": (0.5, 3.0),
    "refuse S3": (0.5, 4.0),
}
# How many jobs are under way at most, for so many jobs on end.
BACKLOGS, PHASE = (4, 16, 32, 64), 30


@dataclass(frozen=True)
class PlannedJob:
    """One job: what the engine shall do with it, and what its caller.

    `backlog`: it is sent when fewer are under way; `cancelled_after`: once so many more have been
    accepted, its caller cancels it, None: never.
    """

    number: int
    id: str
    kind: str
    prompt: str
    tokens: int
    backlog: int
    cancelled_after: int | None = None

    @property
    def sub(self) -> str:
        return f"user-{self.number % USERS}"

    @property
    def ttl_s(self) -> int:
        return FLEETING_TTL_S if self.kind == "fleeting" else names.JOB_TTL_S

    @property
    def faults(self) -> int:
        """How many tries fail by the job itself before one can succeed."""
        words = dict(word.split("=") for word in self.prompt.split())
        return int(words.get("faults", 0))

    @property
    def fates(self) -> set[str]:
        return FATES.get(self.kind, {"done"})


@dataclass(frozen=True)
class Blow:
    """What happens once so many jobs have ended, for how long; to which node, if it is up."""

    after: int
    kind: str
    node: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """A run, before anything has happened."""

    seed: int
    jobs: Sequence[PlannedJob]
    blows: Sequence[Blow]

    @property
    def wake(self) -> str:
        """The stack's gpu:wake, where it has the lane."""
        return ("always", "backlog")[self.seed % 2]

    @property
    def digest(self) -> str:
        """Equal for equal plans."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:12]


def make_plan(seed: int, jobs: int, *, lane: bool = False) -> Plan:
    """The plan of a seed: the same, byte for byte, wherever it is made; `lane`: of a stack that has
    the instant lane.
    """
    chance = random.Random(seed)
    kinds = _shuffled(chance, jobs)
    backlogs = [min(chance.choice(BACKLOGS), jobs // 4 + 1) for _ in range(jobs // PHASE + 1)]
    planned = tuple(
        _job(chance, number, kind, backlogs[number // PHASE]) for number, kind in enumerate(kinds)
    )
    blows = _blows(chance, jobs, {**BLOWS, **LANE_BLOWS} if lane else BLOWS)
    return Plan(
        seed, planned, (Blow(0, "lose nodes", 0, LOST_AT_FIRST_S), *blows) if lane else blows
    )


def _shuffled(chance: random.Random, jobs: int) -> list[str]:
    kinds = [kind for kind, share in KINDS.items() for _ in range(_of(share, jobs))][:jobs]
    kinds += ["plain"] * (jobs - len(kinds))
    chance.shuffle(kinds)
    return kinds


def _of(share: float, jobs: int) -> int:
    """A share of 1000, at least one."""
    return max(1, round(share * jobs / 1000))


def _job(chance: random.Random, number: int, kind: str, backlog: int) -> PlannedJob:
    tokens = chance.randint(20, 40) if kind == "slow" else chance.randint(3, 20)
    every = chance.uniform(0.05, 0.1) if kind == "slow" else chance.choice((0, 0.005, 0.02))
    words = {
        "job": number,
        "tokens": tokens,
        "every": f"{every:.3f}",
        "first": f"{chance.choice((0, 0, 0.05, 0.3)):g}",
        **_faults(chance, kind, tokens),
    }
    return PlannedJob(
        number,
        str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        kind,
        " ".join(f"{name}={value}" for name, value in words.items()),
        tokens,
        backlog,
        chance.randint(0, 40) if kind == "cancelled" else None,
    )


def _faults(chance: random.Random, kind: str, tokens: int) -> dict[str, object]:
    at = chance.randrange(tokens)
    match kind:
        case "short":
            return {"finish": "length"}
        case "poison":
            return {"kill_after": at}
        case "refused":
            return {"refuse": chance.choice((400, 413, 422))}
        case "lasting":
            return _fault(chance, at)
        case "passing":
            passing = [_fault(chance, at), {"kill_after": at}, {"refuse": 503}, {"refuse": 429}]
            return {**chance.choices(passing, (17, 1, 1, 1))[0], "faults": chance.randint(1, 2)}
        case _:
            return {}


def _fault(chance: random.Random, at: int) -> dict[str, object]:
    """A failure of the engine that is this job's alone."""
    return chance.choice(
        [
            {"finish": "abort"},
            {"finish": "mute"},
            {"refuse": 500},
            {"break_after": at},
            {"error_after": at},
            {"error_after": max(at, 1), "code": 503},
            {"hang_after": at},
            {"garbage_after": at, "garbage": chance.choice(sorted(GARBAGE))},
        ]
    )


def _blows(chance: random.Random, jobs: int, shares: dict[str, float]) -> tuple[Blow, ...]:
    """In the order in which they fall; the last tenth of the jobs is left to settle."""
    blows = [
        Blow(
            chance.randrange(max(1, jobs * 9 // 10)),
            kind,
            chance.randrange(NODES),
            round(chance.uniform(*LASTING_S.get(kind, (0.0, 0.0))), 2),
        )
        for kind, share in shares.items()
        for _ in range(_of(share, jobs))
    ]
    return tuple(sorted(blows, key=lambda blow: blow.after))
