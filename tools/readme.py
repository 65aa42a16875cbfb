"""The README's generated tables: configuration keys and stack outputs, out of the program itself
(`make docs`).
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.settings import Settings
from recording.evaluate import evaluate
from tools import literal_costs

README = Path(__file__).resolve().parent.parent / "README.md"

OUTPUTS = {
    "api_url": "where clients post prompts",
    "ping_url": "health of the stack, inside the VPC (or from `gateway:extraPingCidrs`)",
    "queue_health_url": "health of the queue, from where `ping_url` can be called",
    "user_pool_id": "the Cognito pool that users are made in",
    "user_pool_client_id": "the app client that they sign in by",
    "redis_endpoint": "the queue's host, inside the VPC",
    "replies_bucket": "where replies are",
    "gpu_instance_ids": "the nodes; none before the image is baked",
    "alerts_topic_arn": "where budget and alarms report",
    "cost_fixed_monthly_eur": "what the stack costs each month before any GPU hour, in EUR without VAT",
    "cost_gpu_hours_left": "how many GPU hours the cap leaves",
    "cost_lines": "the bill, line by line",
    "next_step": "what to do next, if anything",
}


def configuration() -> str:
    """Every key with its default and meaning."""
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for group, field in Settings.model_fields.items():
        for key, inner in getattr(field.annotation, "model_fields", {}).items():
            default = inner.get_default(call_default_factory=True)
            rows.append(
                f"| `{group}:{inner.alias or key}` | {_shown(default)} | {inner.description} |"
            )
    return "\n".join(rows)


def _shown(default: Any) -> str:
    if default is None or default == ():
        return "none"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def outputs() -> str:
    """Every stack output; KeyError for one without an explanation."""
    names = sorted(evaluate("dev").outputs)
    return "\n".join(
        [
            "| output | meaning |",
            "|---|---|",
            *(f"| `{name}` | {OUTPUTS[name]} |" for name in names),
        ]
    )


BLOCKS: dict[str, Callable[[], str]] = {
    "configuration": configuration,
    "outputs": outputs,
    "literal-costs": literal_costs.table,
}


def rendered(text: str) -> str:
    """`text` with every generated block made anew."""
    for name, make in BLOCKS.items():
        block = f"<!-- {name} -->\n{make()}\n<!-- /{name} -->"
        text = re.sub(
            f"<!-- {name} -->.*?<!-- /{name} -->",
            lambda _, block=block: block,
            text,
            flags=re.DOTALL,
        )
    return text


if __name__ == "__main__":
    README.write_text(rendered(README.read_text()))
    print(f"{README.name}: {', '.join(BLOCKS)}", file=sys.stderr)
