"""What the platform's own counters say of a stack, as units of the price list."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

# X-Ray takes the first request of each second, and of the others this share.
TRACED_SHARE, DAY_S = 0.05, 86_400
# Lambda rounds each call up to a whole ms.
ROUNDED_S = 0.0005
# A worker writes a reply once a second at most, and three times on the way of an ordinary answer.
WRITES_PER_S, WRITES_PER_CALL = 1.0, 3
# What an answer of the API weighs at most: a reply of some 1,000 tokens, and headers.
ANSWER_GB = 8e-6
GB = 1e9
LOGS, STORED = "log:", "stored"
# Of the API's requests: how many there were, which of them got 4xx, and which reached what is
# behind a route.
ASKED, REFUSED, REACHED = "asked", "refused", "reached"


@dataclass(frozen=True, kw_only=True)
class Function:
    """A function as it is billed: its run time's `item` of the price list, GB of memory, and GB of
    disk beyond what is free; `reads` and `writes` are what one call of it asks of S3.

    `role` tells apart what else its calls stand for: the 'lane', whose run time is counted by
    itself, the 'router', the 'probed' one that the health checks ask, the 'meter' itself.
    `fast` is whether it can cost much within minutes.
    """

    name: str
    item: str
    gb: float
    disk_gb: float = 0.0
    reads: float = 0.0
    writes: float = 0.0
    role: str = ""
    fast: bool = False


def pack(functions: Iterable[Function]) -> str:
    """Functions as text for an environment variable, defaults left out."""
    bare = asdict(Function(name="", item="", gb=0))
    kept = [
        {key: value for key, value in asdict(each).items() if value != bare[key]}
        for each in functions
    ]
    return json.dumps(kept, separators=(",", ":"))


def unpack(text: str) -> list[Function]:
    """The functions of `pack`'s text."""
    return [Function(**each) for each in json.loads(text)]


def calls(function: Function) -> str:
    """The counter of a function's calls."""
    return f"calls:{function.name}"


def seconds(function: Function) -> str:
    """The counter of the seconds it ran."""
    return f"seconds:{function.name}"


def day(counter: str, date: str) -> str:
    """One day of a counter of the API's, such as '2026-11-26'."""
    return f"{counter}:{date}"


def requests(counted: Mapping[str, float], date: str = "") -> float:
    """How many requests API Gateway charges, of the month or of a day: what it refuses by itself,
    for want of a good token or by a throttle, it does not.

    Those that reached a function or S3, whatever they were answered, and all that were no 4xx,
    should preflights not count as reached: never fewer than are charged, and in a month without a
    flood as many.
    """
    asked, refused, reached = (
        counted.get(day(each, date) if date else each, 0.0) for each in (ASKED, REFUSED, REACHED)
    )
    return min(max(asked, reached), reached + max(0.0, asked - refused))


def lane_s(counted: Mapping[str, float], functions: Iterable[Function]) -> float:
    """For how many seconds the instant lane ran."""
    return sum(counted.get(seconds(each), 0.0) for each in functions if each.role == "lane")


def units(
    counted: Mapping[str, float], functions: Iterable[Function], asked: float, node_s: float
) -> dict[str, float]:
    """Units by item of the price list; what has no counter of its own is bounded by what has one.

    `asked` is how many requests to CloudWatch a call of the meter makes on average, `node_s` for
    how many seconds nodes ran. The instant lane's run time is not among them.
    """
    all_ = list(functions)
    of = {role: _calls(counted, all_, role) for role in ("router", "probed", "meter")}
    charged = requests(counted)
    # GET /infer/{id} reads S3; every other request is a function's, or the checks' /ping.
    polls = max(0.0, charged - of["router"] - 2 * of["probed"])
    busy_s = (lane_s(counted, all_) + node_s) * WRITES_PER_S
    used = {
        "REST request": charged,
        "trace": sum(map(_traced, _days(counted))),
        "log ingestion": sum(n for name, n in counted.items() if name.startswith(LOGS)) / GB,
        "S3 read": polls,
        "S3 write": min(of["router"] * WRITES_PER_CALL, busy_s),
        "S3 storage": counted.get(STORED, 0.0),
        "CloudWatch request": of["meter"] * asked,
        "data out": charged * ANSWER_GB,
    }
    for each in all_:
        _add(used, each, counted)
    return used


def _add(used: dict[str, float], function: Function, counted: Mapping[str, float]) -> None:
    number = counted.get(calls(function), 0.0)
    ran_s = counted.get(seconds(function), 0.0) + ROUNDED_S * number
    due = {
        "Lambda request": number,
        "S3 read": number * function.reads,
        "S3 write": number * function.writes,
    }
    if function.role != "lane":
        due[function.item] = ran_s * function.gb
        due["Lambda disk"] = ran_s * function.disk_gb
    for item, count in due.items():
        if count:
            used[item] = used.get(item, 0.0) + count


def _calls(counted: Mapping[str, float], functions: Iterable[Function], role: str) -> float:
    return sum(counted.get(calls(each), 0.0) for each in functions if each.role == role)


def _days(counted: Mapping[str, float]) -> list[float]:
    dates = {
        name.partition(":")[2] for name in counted if name.startswith((f"{ASKED}:", f"{REACHED}:"))
    }
    return [requests(counted, date) for date in sorted(dates)]


def _traced(requests: float) -> float:
    return min(requests, DAY_S + TRACED_SHARE * requests)
