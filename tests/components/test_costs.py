"""The bill: prices with their sources, free tiers once, totals that the lines add up to, and a
warning with names.
"""

import logging
import re
from typing import Any

import grpc
import pytest
import yaml
from support.program import evaluate

from components import costs, prices, pricing
from components.deployed import READ_OUTPUTS
from components.pricing import bill, line, total_usd
from components.settings import Settings
from recording.invented import RecordingBackend
from recording.shipped import stack_file
from tools.pages import literal_costs

REGION = "us-east-1"


def usd(stack: str, **config: dict[str, object]) -> float:
    recording = evaluate(stack, config={f"tl-fif:{k}": v for k, v in config.items()})
    return sum(each["usd"] for each in recording.bill if each["per"] == "month")


# --- the price list

OLDER = prices.VCPUS.keys() - {"g4dn.xlarge"}


def test_every_price_is_there_for_every_region_with_unit_date_source_and_mark() -> None:
    for item, by_region in prices.PRICES.items():
        of = item.removesuffix(" spot")
        assert set(by_region) <= set(prices.REGIONS), item
        assert set(by_region) == set(prices.REGIONS) or of in prices.VCPUS, item
        for price in by_region.values():
            assert price.item == item
            assert price.unit
            assert price.source
            assert price.read == ("2025-11" if of in OLDER else "2026-11")
            assert price.mark in ("H", "M", "L")
            assert min(price.usd, price.free) >= 0


def test_european_prices_from_memory_are_marked_so() -> None:
    for item in ("cache.t4g.micro valkey", "NLB", "interface endpoint", "canary run"):
        assert [price.mark for price in prices.PRICES[item].values()][1:] == ["L", "L"]


@pytest.mark.parametrize(
    ("item", "quantity", "expected"),
    [  # decisions of the project, line by line
        ("cache.t4g.small redis", pricing.HOURS, 23.36),
        ("cache.t4g.small valkey", pricing.HOURS, 18.69),
        ("cache.t4g.micro valkey", pricing.HOURS, 9.34),
        ("NLB", pricing.HOURS, 16.43),
        ("canary run", pricing.MINUTES, 52.44),
        ("canary run", 91, 0),
        ("interface endpoint", pricing.HOURS, 7.30),
        ("Cost Explorer request", 4 * pricing.HOURS, 29.20),
        ("gp3 volume", 100, 8.00),
        ("EBS snapshot", 40, 2.00),
    ],
)
def test_lines_cost_what_was_decided(item: str, quantity: float, expected: float) -> None:
    assert total_usd(bill([line(item, quantity, "x")], REGION)) == pytest.approx(
        expected, abs=0.006
    )


def test_a_free_tier_is_used_once() -> None:
    rows = bill([line("alarm", 6, "a"), line("alarm", 6, "b")], REGION)
    assert [(row.free, row.usd) for row in rows] == [(6, 0), (4, pytest.approx(0.20))]


def test_items_of_one_pool_share_its_free_tier_and_an_hour_has_none() -> None:
    lane_hour = line("Lambda compute x86", 10_000, "c", per="lane-hour")
    lines = [lane_hour, line("Lambda compute x86", 3e5, "a"), line("Lambda compute", 3e5, "b")]
    rows = bill(lines, REGION)
    assert [row.free for row in rows] == [0, 300_000, 100_000]
    assert [row.usd for row in rows] == pytest.approx([0.166667, 0, 2e5 * 0.0000133334])
    there = [p[REGION] for p in prices.PRICES.values()]
    pools = {price.pool: price.free for price in there}
    assert all(price.free == pools[price.pool] for price in there)


def test_an_item_without_a_price_is_refused_by_name() -> None:
    with pytest.raises(KeyError, match=r"'cache\.m7g\.large valkey' has no price"):
        line("cache.m7g.large valkey", 1, "x")


def test_a_gpu_hour_is_priced_in_every_region() -> None:
    for region in prices.REGIONS:
        lines = pricing.bill(pricing.gpu_hour_lines("g4dn.xlarge"), region)
        assert sum(line.usd for line in lines) == pytest.approx(
            {"us-east-1": 0.531, "eu-west-1": 0.592, "eu-central-1": 0.663}[region]
        )
        assert all(
            row.line.per == "gpu-hour" and row.price.source and row.price.read for row in lines
        )


# --- stacks


@pytest.mark.story("OPS-003")
@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_the_frugal_stacks_fit_under_the_cap_with_hours_to_spare(
    stack: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        outputs = evaluate(stack).outputs
    assert outputs["cost_fixed_monthly_eur"] == pytest.approx(12.4, abs=0.5)
    assert 16 < outputs["cost_gpu_hours_left"] < 20
    assert 25_000 < outputs["cost_lane_answers_left"] < 35_000
    assert "what this stack costs" in caplog.text
    assert "leaves" not in caplog.text


@pytest.mark.story("OPS-003")
@pytest.mark.parametrize("stack", ["dev", "literal"])
def test_a_deployment_says_what_costs_something_and_last_what_decides(
    stack: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        recording = evaluate(stack)
    said = next(r.getMessage() for r in caplog.records if r.levelno == logging.INFO)
    head, *shown, last = said.splitlines()
    assert head == "what this stack costs"
    nothing = [each for each in recording.bill if each["usd"] < 0.005 and each["per"] == "month"]
    assert len(nothing) > 20
    due = [each for each in recording.bill if each["per"] != "worst-hour"]
    [disk] = [each for each in due if each["per"] != "month" and each["usd"] < 0.0005]
    assert disk["item"] == "Lambda disk"
    assert len(shown) == len(due) - len(nothing) + 1 - 1 <= 38
    assert [line for line in shown if f"{len(nothing)} more within free tiers" in line]
    figures = recording.outputs
    fixed, left = figures["cost_fixed_monthly_eur"], figures["cost_gpu_hours_left"]
    answers = figures["cost_lane_answers_left"]
    either = f"{left:.1f} GPU-hours or {answers:,} answers of the instant lane"
    assert last == f"€{fixed:.2f} a month fixed, {either} left under the cap"
    costly = {name for name in figures if name.startswith("cost_")}
    assert costly == {costs.FIXED, costs.LEFT, costs.ANSWERS}, "the table is no output"


class UnknownStack(grpc.RpcError):
    """What the engine answers where it knows no such stack."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNKNOWN

    def details(self) -> str:
        return "unknown stack"


@pytest.mark.story("OPS-003")
@pytest.mark.parametrize(
    ("outputs", "end"),
    [
        (
            {"cost_fixed_monthly_eur": 10.0, "cost_gpu_hours_left": 20.0},
            r"€\+[12]\.\d\d and -\d\.\d GPU-hours",
        ),
        (
            {"cost_fixed_monthly_eur": 10.0, "cost_lane_answers_left": 40_000.0},
            r"€\+[12]\.\d\d and -[\d,]{5,} answers of the instant lane",
        ),
        ({"api_url": "x"}, "under the cap"),
        (None, "under the cap"),
    ],
)
def test_the_costs_are_compared_with_the_last_deployment(
    outputs: dict[str, Any] | None, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[dict[str, Any]] = []

    class Deployed(RecordingBackend):
        def call(self, args: Any) -> dict[str, Any]:
            if args.token != READ_OUTPUTS:
                return super().call(args)
            asked.append(args.args)
            if outputs is None:
                raise UnknownStack
            return {"name": args.args["name"], "outputs": outputs}

    with caplog.at_level(logging.INFO):
        plain = evaluate("dev", Deployed("dev", "us-east-1"))
    assert {each["name"] for each in asked} == {"organization/tl-fif/dev"}
    said = next(r.getMessage() for r in caplog.records if "costs" in r.getMessage())
    assert re.search(f"{end}$", said)
    assert "StackReference" not in {r.type.rpartition(":")[2] for r in plain.resources}


def test_nothing_new_is_said_so() -> None:
    figures = {costs.FIXED: 12.0, costs.LEFT: 18.3}
    assert costs.message([], figures, figures).endswith("; as at the last deployment")


def test_the_literal_stack_costs_what_the_backlog_costs() -> None:
    outputs = evaluate("literal").outputs
    assert outputs["cost_fixed_monthly_eur"] == pytest.approx(124.5, abs=0.5)
    assert outputs["cost_gpu_hours_left"] == 0


def test_the_figures_are_what_the_lines_add_up_to() -> None:
    recording = evaluate("dev")
    outputs, lines = recording.outputs, recording.bill
    running = sum(each["usd"] for each in lines if each["per"] == "gpu-hour")
    assert outputs["cost_fixed_monthly_eur"] == round(usd("dev") / 1.15, 2)
    assert outputs["cost_gpu_hours_left"] == round((23 - usd("dev")) / running, 1)
    assert all(each["what"] for each in lines)


def test_every_line_belongs_to_a_resource_or_is_a_sum_of_all() -> None:
    due = [each for each in evaluate("literal").bill if each["per"] != "worst-hour"]
    for each in due:
        assert each["resource"] or each["item"] == "custom metric", each["what"]


def test_more_costs_more() -> None:
    assert usd("dev", gpu={"count": 3}) == pytest.approx(usd("dev") + 2 * 30 * 0.08)
    assert usd("dev", queue={"replicas": 1}) == pytest.approx(usd("dev") + 9.344 + 0.10), (
        "a node and the alarm on its memory"
    )


@pytest.mark.story("EC2-005")
def test_one_key_adds_the_load_balancer_and_its_price() -> None:
    assert usd("dev", gpu={"tlsIngress": True}) == pytest.approx(usd("dev") + 16.425)


def test_too_few_hours_are_a_warning_that_names_the_keys_to_change(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        evaluate("dev", config={"tl-fif:gateway": {"privateEndpoint": True}})
    assert [record.message for record in caplog.records] == [
        "The cap of €20 leaves 2.7 GPU-hours a month, fewer than costs:minGpuHours = 10. "
        "Change back gateway:privateEndpoint, or raise budget:capEur."
    ]


@pytest.mark.story("OPS-003")
@pytest.mark.parametrize(
    ("stack", "config", "warning"),
    [
        (
            "dev",
            {"tl-fif:budget": {"capEur": 10}},
            "budget:capEur = 10 is below the fixed cost of €12.42 a month: from a month's first "
            "minute on every prompt is refused (402). Raise it with: "
            "pulumi config set --path 'tl-fif:budget.capEur' 18",
        ),
        (
            "dev",
            {"tl-fif:queue": {"nodeType": "cache.t4g.small"}, "tl-fif:costs": {"minGpuHours": 0}},
            "budget:capEur = 20 is below the fixed cost of €20.55 a month: before a month is over "
            "every prompt is refused (402). Change back queue:nodeType, or raise it with: "
            "pulumi config set --path 'tl-fif:budget.capEur' 22",
        ),
        (
            "dev",
            {"tl-fif:cpu": {"answersPerMonth": 100_000}},
            "budget:capEur = 20 is below the fixed cost of €",
        ),
        ("literal", {}, "budget:capEur = 20 is below the fixed cost of €"),
    ],
)
def test_a_cap_below_the_fixed_cost_is_a_warning_with_both_and_the_fix(
    stack: str, config: dict[str, Any], warning: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        evaluate(stack, config=config)
    (said,) = [record.message for record in caplog.records]
    assert said.startswith(warning)
    assert said.count("every prompt is refused (402)") == 1
    assert len(said.splitlines()) == 1


def test_the_threshold_is_a_key(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        evaluate("dev", config={"tl-fif:costs": {"minGpuHours": 20}})
    assert "fewer than costs:minGpuHours = 20. Raise budget:capEur." in caplog.text


@pytest.mark.parametrize(("region", "euros"), [("eu-west-1", 12.8), ("eu-central-1", 13.6)])
def test_europe_costs_a_little_more(region: str, euros: float) -> None:
    outputs = evaluate("dev", config={"aws:region": region}).outputs
    assert outputs["cost_fixed_monthly_eur"] == pytest.approx(euros, abs=1)


# --- the instant lane


@pytest.mark.parametrize(
    ("region", "cpu", "usd_per_hour"),
    [  # GB, seconds, price; and what disk is beyond 512 MB
        ("us-east-1", {}, 2.9375 * 3600 * 0.0000166667 + 0.5 * 3600 * 0.0000000309),
        ("eu-central-1", {}, 2.9375 * 3600 * 0.0000166667 + 0.5 * 3600 * 0.0000000367),
        ("us-east-1", {"memoryMb": 10240, "diskMb": 768}, 3600 * (0.000166667 + 0.25 * 3.09e-8)),
    ],
)
def test_the_lane_is_priced_by_the_hour(
    region: str, cpu: dict[str, int], usd_per_hour: float
) -> None:
    settings = Settings.parse({"aws:region": region, "tl-fif:cpu": cpu})
    assert settings.lane_eur_per_hour == pytest.approx(usd_per_hour / 1.15)


def test_the_estimate_takes_the_free_tier_and_names_its_key() -> None:
    lines = {each["what"]: each for each in evaluate("dev").bill}
    run_time = lines["cpu_worker: run time"]
    assert run_time["quantity"] == pytest.approx(5_000 * 10.4 * 2.9375)
    assert (run_time["free"], run_time["usd"]) == (run_time["quantity"], 0)
    assert "free, cpu:answersPerMonth" in costs.notes(run_time)
    assert usd("dev", cpu={"answersPerMonth": 20_000}) > usd("dev") + 2


@pytest.mark.parametrize("cpu", [{}, {"memoryMb": 1280, "diskMb": 10_240}, {"memoryMb": 10_240}])
def test_as_many_answers_as_are_left_spend_the_cap(cpu: dict[str, int]) -> None:
    def figures(answers: int) -> dict[str, Any]:
        config = {"tl-fif:cpu": {**cpu, "answersPerMonth": answers}}
        return evaluate("dev", config=config).outputs

    none = figures(0)
    left = none["cost_lane_answers_left"]
    assert none["cost_fixed_monthly_eur"] < 13
    spent = figures(left)
    assert spent["cost_fixed_monthly_eur"] == pytest.approx(20, abs=0.01)
    # What is left under the cap does not hang on what was expected.
    assert spent["cost_lane_answers_left"] == left


@pytest.mark.story("OPS-003")
def test_a_cap_that_leaves_fewer_answers_than_expected_is_a_warning_without_nodes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = {"tl-fif:gpu": {"wake": "never"}, "tl-fif:budget": {"capEur": 9}}
    with caplog.at_level(logging.WARNING):
        outputs = evaluate("dev", config=config).outputs
    assert outputs["cost_lane_answers_left"] == 0
    (said,) = [record.message for record in caplog.records]
    assert said.startswith("budget:capEur = 9 is below the fixed cost of €9.67 a month: ")
    assert said.endswith("pulumi config set --path 'tl-fif:budget.capEur' 11")


def test_the_other_functions_leave_nearly_all_of_the_free_tier() -> None:
    monthly = [each for each in evaluate("dev").bill if each["per"] == "month"]
    others = [each for each in monthly if each["item"] == "Lambda compute"]
    assert sum(each["quantity"] for each in others) < 0.04 * 400_000


def test_the_table_says_what_the_lane_would_cost_at_worst() -> None:
    recording = evaluate("dev")
    said = costs.table(recording.bill, recording.outputs).splitlines()
    [worst] = [each for each in said if "ran all month" in each]
    hourly = Settings.parse({"aws:region": REGION}).lane_eur_per_hour * 1.15
    assert float(worst.split()[0]) == pytest.approx(730 * hourly, abs=0.01)
    assert "one at a time" in worst


# --- the literal stack's table


def test_every_literal_key_is_a_row_of_the_table_and_differs_from_its_default() -> None:
    known = frozenset().union(*(keys for _, _, keys in literal_costs.CRITERIA))
    assert literal_costs.literal_keys() <= known
    config = yaml.safe_load(stack_file("literal").read_text())["config"]
    literal = Settings.parse(config)
    same = [key for key in literal_costs.literal_keys() - {"gpu:domain"} if literal.is_default(key)]
    assert same == []


def test_the_tables_lines_add_up_to_its_totals() -> None:
    rows = [row.split("|") for row in literal_costs.table().splitlines()[2:]]
    for column in (4, 5):
        cells = [float(row[column].replace("*", "").split("=")[0]) for row in rows]
        assert sum(cells[:-1]) == pytest.approx(cells[-1], abs=0.03)
