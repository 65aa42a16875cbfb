"""What the guards tell each other: JSON documents below `money/` in the stack's bucket.

The bucket is what functions inside and outside the VPC share; each document has one writer.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, ClassVar, TypeVar

from tlfif import aws

Told = TypeVar("Told", bound="Document")
MONEY = "money"


@dataclass(frozen=True, kw_only=True)
class Document:
    """A document of one kind; fields that a reader does not know are left out, and fields that a
    writer did not know have their defaults, so that either may be the newer.
    """

    KEY: ClassVar[str]

    def text(self) -> str:
        """The document as JSON."""
        return json.dumps(self.fields(), separators=(",", ":"), sort_keys=True)

    def fields(self) -> dict[str, Any]:
        """The document as plain data."""
        return asdict(self)

    @classmethod
    def parse(cls: type[Told], text: str | bytes) -> Told:
        """The document of JSON text. Raises ValueError for any other."""
        return cls.of(json.loads(text))

    @classmethod
    def of(cls: type[Told], told: Mapping[str, Any]) -> Told:
        """The document of plain data. Raises ValueError for any other."""
        try:
            known = {each.name for each in fields(cls)}
            return cls(**{name: value for name, value in told.items() if name in known})
        except (AttributeError, TypeError) as error:
            raise ValueError(f"{cls.KEY} is no {cls.__name__}: {error}") from error

    @classmethod
    def load(cls: type[Told], s3: Any, bucket: str) -> Told | None:
        """The stored document, None where there is none. Raises aws.Unavailable, ValueError."""
        with aws.answering():
            try:
                body = s3.get_object(Bucket=bucket, Key=cls.KEY)["Body"].read()
            except s3.exceptions.NoSuchKey:
                return None
        return cls.parse(body)

    def save(self, s3: Any, bucket: str) -> None:
        """Stores it. Raises aws.Unavailable."""
        with aws.answering():
            s3.put_object(
                Bucket=bucket,
                Key=self.KEY,
                Body=self.text().encode(),
                ContentType="application/json",
            )


@dataclass(frozen=True, kw_only=True)
class Tariff(Document):
    """What things cost the stack; the program writes it, from the bill. USD.

    `fixed_usd` is due in any month for what is there all the time, `assumed_usd` what the preview
    assumes of usage. `prices`: by item of the price list, `usd` a unit, `free` units a month, and
    `pool`, with which items it shares these. `lane_units`: units of which items a second of the
    instant lane takes. `worst_usd_per_hour`: what each surface costs at most, at its limits.
    """

    KEY: ClassVar[str] = f"{MONEY}/tariff.json"

    @cached_property
    def digest(self) -> str:
        """Another one for other prices; the cap is none."""
        priced = replace(self, cap_usd=0.0, usd_per_eur=0.0, worst_usd_per_hour={})
        return hashlib.sha256(priced.text().encode()).hexdigest()[:16]

    stack: str
    cap_usd: float
    usd_per_eur: float
    fixed_usd: float
    assumed_usd: float
    gpu_usd_per_hour: float
    gpu_count: int
    lane_units: dict[str, float] = field(default_factory=dict[str, float])
    prices: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    worst_usd_per_hour: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, kw_only=True)
class Ledger(Document):
    """What ran this month, by the guardian's own count until `at` (epoch s).

    `begun_at` is since when the stack is there this month, 0 for all of it. `node_s` is for how
    many seconds nodes ran, all together, and `unseen_s` for how many more they may have run while
    nobody looked. `lane_s` is the same for the instant lane, of which the queue counted
    `lane_seen_s` itself; `running` are the nodes that ran at `at`. `own_usd` is what all that has
    cost until then by the tariff with the digest `tariff`, and `carried_usd` how much of it is by
    tariffs before that. `degree` is what is closed and `why`, as Decision has them.
    """

    KEY: ClassVar[str] = f"{MONEY}/ledger.json"

    month: str
    at: float
    begun_at: float = 0.0
    node_s: float = 0.0
    unseen_s: float = 0.0
    lane_s: float = 0.0
    lane_seen_s: float = 0.0
    running: list[str] = field(default_factory=list[str])
    own_usd: float = 0.0
    tariff: str = ""
    carried_usd: float = 0.0
    degree: str = "open"
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Metered(Document):
    """What the platform's own counters say of this month until `at` (epoch s): units by item of the
    price list, the instant lane's run time apart.

    `counted` are the counters themselves (tlfif.money.counting), which never fall within a month;
    those that grow slowly were read at `slow_at`.
    """

    KEY: ClassVar[str] = f"{MONEY}/metered.json"

    month: str
    at: float
    units: dict[str, float] = field(default_factory=dict[str, float])
    lane_s: float = 0.0
    counted: dict[str, float] = field(default_factory=dict[str, float])
    slow_at: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Billed(Document):
    """The last figure that AWS billed this month, and what our own count was when that figure was
    first seen, at `at` (epoch s).

    `before_usd` is what AWS said before, where its figure may be the last month's still; it is
    `guessed` that it is where nobody had seen one before. `points`
    are the times at which figures were first seen, with the most that we counted then, all of it
    and what is not fixed: of the last day, and the one before. `asked_at` is when Cost Explorer was
    asked. `counted` is the publisher's own ledger, by which it and the guardian go on where the
    guardian was dead.
    """

    KEY: ClassVar[str] = f"{MONEY}/billed.json"

    month: str
    at: float
    actual_usd: float = 0.0
    own_usd: float = 0.0
    before_usd: float = 0.0
    guessed: bool = False
    points: list[list[float]] = field(default_factory=list[list[float]])
    asked_at: float = 0.0
    counted: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def ledger(self) -> Ledger | None:
        """The publisher's own. Raises ValueError."""
        return Ledger.of(self.counted) if self.counted else None


@dataclass(frozen=True, kw_only=True)
class Latch(Document):
    """Why nothing more is started, since and until when (epoch s), and who found it so."""

    KEY: ClassVar[str] = f"{MONEY}/latch.json"

    reason: str
    since: float
    until: float
    by: str
