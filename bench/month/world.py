"""What really happens in a simulated month, and what the guards see and do of it."""

import math
from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass, field

from bench.month.load import BEGIN, END, HOUR_S, LEAD_S, MINUTE_S, Load
from tlfif import names
from tlfif.money import counting, deciding, ledgers, looking, months, spending
from tlfif.money.deciding import Degree
from tlfif.money.documents import Billed, Ledger, Metered, Tariff
from tlfif.nodes import Node

GUARDS = ("idle stop", "lifetime", "guardian", "meter", "publisher", "budget")
# A figure is judged against what is true, and early in the month against this part of the cap.
LEAST_SHARE = 0.1
IDLE_S, LIFETIME_S, BOOT_S = 300.0, 4 * HOUR_S, 90.0
# The guardian gives a node so much longer than its watcher does.
LIFETIME_MARGIN_S = 60.0 * names.LIFETIME_MARGIN_MINUTES
PUBLISHED_S, REFRESHED_S = 900.0, 8 * HOUR_S
# What all callers' keys together let through, and what one request takes, as components/surfaces.py
# has it for a good token.
MOST_RATE = 160.0
PER_REQUEST = {
    **spending.REQUEST,
    "trace": counting.TRACED_SHARE,
    "log ingestion": 1.25e-6,
    "S3 read": 1.0,
}


@dataclass
class Machine:
    """A node as it really is."""

    id: str
    launched_at: float = 0.0
    stopped_at: float = 0.0
    runs: bool = False
    busy_at: float = 0.0

    def seen(self, skew_s: float) -> Node:
        """What EC2 says of it; of a stop that the node made itself it does not say when."""
        launched = self.launched_at + skew_s if self.launched_at else 0.0
        stopped = 0.0 if self.runs or not self.stopped_at else self.stopped_at + skew_s
        state = "running" if self.runs else "stopped"
        return Node(self.id, state, launched_at=launched, stopped_at=stopped)


@dataclass
class Record:
    """What came of a month: what was really spent (USD), at most in either month; how far the
    published figure was off, while the guardian lived and prices were as known; starts; when what
    was closed; and a line of (days, spent, published, latched) every six hours.
    """

    spent_usd: float = 0.0
    error: float = 0.0
    starts: int = 0
    latched_at: float = 0.0
    first_closed_at: float = 0.0
    published_usd: float = 0.0
    calls: Counter[str] = field(default_factory=Counter[str])
    line: list[tuple[float, float, float, bool]] = field(
        default_factory=list[tuple[float, float, float, bool]]
    )


class World:
    """One month of a stack with this tariff under this load, and with only some guards."""

    def __init__(self, tariff: Tariff, load: Load, guards: Collection[str] = GUARDS) -> None:
        self.tariff, self.load, self.guards = tariff, load, set(guards)
        self.now = BEGIN - LEAD_S
        self.machines = [Machine(f"i-{number}") for number in range(tariff.gpu_count)]
        self.record = Record()
        self.units: dict[str, float] = {}
        self.node_s = self.lane_s = self.usage_usd = self.spent_usd = 0.0
        self.latched = self.closed = False
        self.trickle_rate = math.inf
        self.stop_at = math.inf
        self.ledger: Ledger | None = None
        self.stored: Ledger | None = None
        self.metered: Metered | None = None
        self.billed: Billed | None = None
        self.figure = 0.0
        self.refreshed_at = self.now
        self.history: deque[tuple[float, float]] = deque()
        self.counters: deque[tuple[float, dict[str, float], float]] = deque()
        self.begun_at = self.now
        self.minute = 0
        self.paid_for: object = None
        self.died_at = -math.inf

    def run(self, until: float = END) -> Record:
        """The whole month, or its begin; raises nothing: who asks judges the record."""
        while self.now < until:
            self._minute()
            self._guard()
            self.minute += 1
            if self.minute % 360 == 0:
                day = (self.now - BEGIN) / 86_400
                published = self.record.published_usd
                self.record.line.append((day, self.spent_usd, published, self.latched))
        return self.record

    # --- what really happens

    def _minute(self) -> None:
        load, now = self.load, self.now
        wanted = load.minutes.wanted[self.minute] > 0
        for machine in self.machines[: 1 + (load.profile == "siege")]:
            self._use(machine, wanted)
        if wanted and not self.latched and not any(each.runs for each in self.machines):
            self.lane_s += MINUTE_S
        rate = min(load.minutes.rates[self.minute], MOST_RATE, self.trickle_rate)
        if rate:
            requests = rate * MINUTE_S
            self.units = {
                item: self.units.get(item, 0.0) + count * requests
                for item, count in PER_REQUEST.items()
            }
        self._pay()
        self.now += MINUTE_S
        if self.now >= self.stop_at:
            self._stop_all()
        if months.month(self.now) != months.month(now):
            self._turn()

    def _use(self, machine: Machine, wanted: bool) -> None:
        """A node's minute: it is started for who wants it, and stops itself."""
        stuck = self.load.minutes.stuck[self.minute] > 0
        if wanted and not machine.runs and not self.latched and not self.closed:
            machine.runs, machine.launched_at = True, self.now + 1
            machine.busy_at = self.now + BOOT_S
            self.record.starts += 1
        if not machine.runs:
            return
        if wanted:
            machine.busy_at = max(machine.busy_at, self.now)
        idle = not wanted and self.now - machine.busy_at >= IDLE_S and not stuck
        old = self.now - machine.launched_at >= LIFETIME_S and not stuck
        if ("idle stop" in self.guards and idle) or ("lifetime" in self.guards and old):
            self._stop(machine)

    def _stop(self, machine: Machine) -> None:
        machine.runs, machine.stopped_at = False, self.now

    def _stop_all(self) -> None:
        self.stop_at = math.inf
        for machine in self.machines:
            if machine.runs:
                self._stop(machine)

    def _pay(self) -> None:
        tariff, load = self.tariff, self.load
        factor = load.price_factor if self.now >= load.price_at else 1.0
        running = sum(machine.runs for machine in self.machines)
        self.node_s += running * MINUTE_S
        usage = self._usage_usd()
        month_s = months.end(self.now) - months.begin(self.now)
        self.spent_usd += tariff.fixed_usd * MINUTE_S / month_s
        self.spent_usd += factor * running * tariff.gpu_usd_per_hour * MINUTE_S / HOUR_S
        self.spent_usd += factor * (usage - self.usage_usd)
        self.usage_usd = usage
        self.record.spent_usd = max(self.record.spent_usd, self.spent_usd)
        self.history.append((self.now, self.spent_usd))
        self.counters.append((self.now, self.units, self.lane_s))

    def _usage_usd(self) -> float:
        if self.paid_for == (self.lane_s, id(self.units)):
            return self.usage_usd
        self.paid_for = (self.lane_s, id(self.units))
        lane = self.tariff.lane_units.items()
        used = self.units | {
            item: self.units.get(item, 0.0) + each * self.lane_s for item, each in lane
        }
        return spending.usage_usd(self.tariff, used)

    def _turn(self) -> None:
        """A new month begins: AWS counts from nothing, and the latch is lifted."""
        self.units, self.node_s, self.lane_s = {}, 0.0, 0.0
        self.spent_usd = self.usage_usd = 0.0
        self.latched = self.closed = False
        self.trickle_rate = math.inf
        self.begun_at = self.now
        self.record.line.append(((self.now - BEGIN) / 86_400, 0.0, 0.0, False))

    # --- what the guards see and do

    def _guard(self) -> None:
        load, now, minute = self.load, self.now, self.minute
        running = any(machine.runs for machine in self.machines)
        asked = load.minutes.rates[minute]
        quiet = not running and not asked and not (self.ledger and self.ledger.running)
        dead = "guardian" not in self.guards or load.minutes.dead[minute] > 0
        self.died_at = now if dead else self.died_at
        if "meter" in self.guards:
            self._count_units()
        if not dead and (not quiet or minute % 15 == 0):
            self._guardian(now + load.skew_s)
        if "meter" in self.guards and (not quiet or minute % 15 == 0):
            self._meter(now, dead)
        if now - self.refreshed_at >= REFRESHED_S:
            self._refresh()
        if now % PUBLISHED_S == 0 and "publisher" in self.guards:
            self._publish(now - load.skew_s)

    def _nodes(self) -> list[Node]:
        return [machine.seen(self.load.ec2_skew_s) for machine in self.machines]

    def _guardian(self, now: float) -> None:
        ledger = looking.later(self.ledger, self.billed.ledger if self.billed else None)
        seen = looking.look(
            self.tariff,
            ledger or ledgers.begun(now),
            self.metered,
            self.billed,
            self._nodes(),
            now,
            lane_s=self.lane_s,
        )
        self.ledger = seen.ledger
        if looking.is_worth_saving(self.stored, seen.ledger):
            self.stored = seen.ledger
            self.record.calls["ledger stored"] += 1
        degree = seen.decision.degree
        self.closed = degree is not Degree.OPEN
        if self.closed and not self.record.first_closed_at:
            self.record.first_closed_at = self.now
        if degree.latches:
            self._latch()
        for machine in self.machines:
            up_s = self.now - machine.launched_at
            if machine.runs and up_s > LIFETIME_S + LIFETIME_MARGIN_S:
                self._stop(machine)

    def _latch(self) -> None:
        """Nodes stop; the first calls may be refused, and are made again a minute later each."""
        if self.stop_at == math.inf and any(machine.runs for machine in self.machines):
            self.stop_at = self.now + MINUTE_S * self.load.refused
            if not self.load.refused:
                self._stop_all()
        if not self.latched:
            self.latched, self.record.latched_at = True, self.now

    def _count_units(self) -> None:
        """The platform's counters, as late as they are."""
        shown = None
        while self.counters and self.counters[0][0] <= self.now - self.load.counters_late_s:
            shown = self.counters.popleft()
        if shown is not None and months.month(shown[0]) == months.month(self.now):
            self.metered = Metered(
                month=months.month(self.now), at=self.now, units=shown[1], lane_s=shown[2]
            )

    def _meter(self, now: float, dead: bool) -> None:
        """Closes the stage, by the guardian's word or by its own look."""
        ledger = looking.later(self.stored, self.billed.ledger if self.billed else None)
        known = ledger or ledgers.unknown(now)
        looked = looking.look(self.tariff, known, self.metered, self.billed, None, now)
        told = Degree(ledger.degree) if ledger is not None and not dead else Degree.OPEN
        if Degree.TRICKLE in (told, looked.decision.degree):
            self.trickle_rate = deciding.trickle(self.tariff, looked.dearest_usd, now)
        else:
            self.trickle_rate = math.inf

    def _refresh(self) -> None:
        """AWS's figure: what was used until some hours ago; at first the last month's."""
        self.refreshed_at = self.now
        until = self.now - self.load.lag_s
        while len(self.history) > 1 and self.history[1][0] <= until:
            self.history.popleft()
        if self.history[0][0] <= until:
            self.figure = self.history[0][1]
        if "budget" in self.guards and self.figure > self.tariff.cap_usd and until >= self.begun_at:
            self._latch()

    def _publish(self, now: float) -> None:
        looked = looking.published(
            self.tariff, self.stored, self.metered, self.billed, self.figure, self._nodes(), now
        )
        if looked.billed != self.billed:
            self.record.calls["figure stored"] += 1
        self.billed = looked.billed
        self.record.published_usd = looked.seen.spent_usd
        self.record.calls["published"] += 1
        if "meter" not in self.guards and looked.seen.decision.degree is Degree.TRICKLE:
            self.trickle_rate = deciding.trickle(self.tariff, looked.seen.dearest_usd, now)
        if looked.stop or looked.seen.spent_usd >= self.tariff.cap_usd:
            self._latch()
        self._judge(looked.seen)

    def _judge(self, seen: looking.Look) -> None:
        """How far the figure is off: where the guardian lived in the last hour, what is known of
        prices is right, and of what the counters showed when it was published.
        """
        load, now = self.load, self.now
        turns = seen.ledger.month != months.month(now)
        if turns or now - self.died_at < HOUR_S or now >= load.price_at:
            return
        late = 0.0
        if self.metered is not None and self.metered.month == seen.ledger.month:
            shown = spending.units(self.tariff, seen.ledger, self.metered)
            late = self.usage_usd - spending.usage_usd(self.tariff, shown)
        true = self.spent_usd - late
        off = abs(seen.spent_usd - true) / max(true, LEAST_SHARE * self.tariff.cap_usd)
        self.record.error = max(self.record.error, off)
