"""The generated tables of README and docs/, out of the program itself (`make docs`)."""

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from components.settings import Settings
from recording import shipped
from recording.evaluate import evaluate
from recording.model import ROOT
from recording.shipped import stacks
from tools.pages import (
    bills_when,
    fleet_costs,
    lane_costs,
    literal_costs,
    model_tables,
    runbook,
    surface_costs,
)
from tools.posture import decisions, reach

OUTPUTS = {
    "api_url": "where clients post prompts",
    "ping_url": "health of the stack, inside the VPC (or from `gateway:extraPingCidrs`)",
    "queue_health_url": "health of the queue, from where `ping_url` can be called",
    "user_pool_id": "the Cognito pool that users are made in",
    "user_pool_client_id": "the app client that they sign in by",
    "redis_endpoint": "the queue's host, inside the VPC",
    "replies_bucket": "where replies are",
    "model_status": "whether the deployment brought the weights to the bucket, and if not, why; "
    "`make model` says how it is now",
    "gpu_instance_ids": "the nodes; none before the image is baked",
    "tls_host": "the TLS balancer's host, inside the VPC; with `gpu:tlsIngress`",
    "alerts_topic_arn": "where budget and alarms report",
    "dashboard_url": "the stack's dashboard, in the console",
    "guardian_arn": "the guardian, which `make unlatch` calls",
    "cost_fixed_monthly_eur": "what the stack costs each month before any GPU hour, "
    "in EUR without VAT",
    "cost_gpu_hours_left": "how many GPU hours the cap leaves; none with `gpu:wake` = never",
    "cost_spot_hours_left": "how many they would be at the estimated spot price, which moves; with "
    "`gpu:spot`",
    "cost_lane_answers_left": "how many answers a month of the instant lane fit under the cap, "
    "free tier included, if no node runs; with `cpu:enabled`",
    "gpu_types": "the instance types whose GPU the model fits, cheapest first, with € per hour and "
    "the hours that the cap leaves",
    "engine": "how vLLM is started on the nodes, and what it takes of their GPU's memory",
    "router_arn": "the router, whose versions a deployment makes",
    "probe_arn": "the function that asks the API from inside the VPC, after each deployment too; "
    "none with `gateway:probe` = synthetics and no pipeline",
    "image_recipe_version": "the version of the nodes' image, as it is baked from now on; none "
    "with `gpu:wake` = never",
    "pipeline_name": "the delivery pipeline; with `delivery:connectionArn`",
    "artifacts_bucket": "where the pipeline leaves coverage and smoke tests; with "
    "`delivery:connectionArn`",
    "deploy_alarms": "the alarms that end a canary; none without a pipeline",
    "next_step": "what to do next, if anything",
}

# What the README shows of the configuration.
KEYS_PEOPLE_CHANGE = (
    "budget:capEur",
    "alerts:email",
    "gpu:count",
    "gpu:spot",
    "gpu:instanceType",
    "model:preset",
    "model:contextLength",
    "gpu:idleMinutes",
    "gpu:wake",
    "queue:nodeType",
    "gateway:extraPingCidrs",
    "gateway:manageAccount",
)


def configuration_keys() -> Iterator[tuple[str, FieldInfo]]:
    """Every configuration key, such as `gpu:count`, with its field."""
    for group, field in Settings.model_fields.items():
        for key, inner in getattr(field.annotation, "model_fields", {}).items():
            yield f"{group}:{inner.alias or key}", inner


def configuration() -> str:
    """Every key with its default and meaning."""
    return _table(
        "key | default | meaning", [_key_row(key, field) for key, field in configuration_keys()]
    )


def keys_people_change() -> str:
    """The few keys of the README; KeyError for one that does not exist."""
    fields = dict(configuration_keys())
    return _table("key | default | meaning", [_key_row(k, fields[k]) for k in KEYS_PEOPLE_CHANGE])


def outputs() -> str:
    """Every stack output; KeyError for one without an explanation."""
    return _table("output | meaning", [f"`{name}` | {OUTPUTS[name]}" for name in output_names()])


@cache
def output_names() -> list[str]:
    """What any stack exports, sorted: some outputs come with a key."""
    spot = evaluate("dev", config={"tl-fif:gpu": {"spot": True}})
    return sorted({name for each in (*map(evaluate, stacks()), spot) for name in each.outputs})


def _key_row(key: str, field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    return f"`{key}` | {_shown(default)} | {field.description}"


def _shown(default: Any) -> str:
    if default is None or default == ():
        return "none"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _table(head: str, rows: list[str]) -> str:
    rule = "---|" * len(head.split("|"))
    return "\n".join([f"| {head} |", f"|{rule}", *(f"| {row} |" for row in rows)])


BLOCKS: dict[str, Callable[[], str]] = {
    "keys": keys_people_change,
    "configuration": configuration,
    "outputs": outputs,
    "literal-costs": literal_costs.table,
    "lane-costs": lane_costs.table,
    "surface-costs": surface_costs.table,
    "presets": model_tables.presets,
    "gpus": model_tables.gpus,
    "fits": model_tables.fits,
    "flags": model_tables.flags,
    "previews": model_tables.previews,
    "fleet-costs": fleet_costs.table,
    "spot-prices": fleet_costs.spot_prices,
    "runbook": runbook.table,
    "reach": reach.table,
    "posture": decisions.table,
    "bills-when": bills_when.table,
}


def pages() -> list[Path]:
    """What people read: README, CONTRIBUTING and docs/*.md."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def rendered(text: str) -> str:
    """`text` with every generated block made anew."""
    for name, make in BLOCKS.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if begin in text:
            block = f"{begin}\n{make()}\n{end}"
            text = re.sub(f"{begin}.*?{end}", lambda _, b=block: b, text, flags=re.DOTALL)
    return text


def main() -> None:
    """Rewrites every page whose blocks have changed, and names it."""
    shipped.show()
    for page in pages():
        text = page.read_text()
        if (current := rendered(text)) != text:
            page.write_text(current)
            print(f"written: {page.relative_to(ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
