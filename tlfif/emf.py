"""CloudWatch metrics in embedded metric format: a line on stdout, no call, no permission."""

import json
import time


def line(
    namespace: str, stack: str, metrics: dict[str, float], unit: str = "Count", **properties: object
) -> str:
    """The EMF document for `metrics` under the one dimension Stack.

    `unit` is theirs, but for those whose names end in Seconds. `properties` are searchable, never
    dimensions.
    """
    units = {name: "Seconds" if name.endswith("Seconds") else unit for name in metrics}
    definition = {
        "Namespace": namespace,
        "Dimensions": [["Stack"]],
        "Metrics": [{"Name": name, "Unit": of} for name, of in units.items()],
    }
    header = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [definition]}
    document = {"_aws": header, "Stack": stack, **metrics, **properties}
    return json.dumps(document, separators=(",", ":"))


def emit(
    namespace: str, stack: str, metrics: dict[str, float], unit: str = "Count", **properties: object
) -> None:
    """Prints one EMF line, e.g. `emit(names.NAMESPACE_ROUTER, "dev", {"EC2Starts": 1})`."""
    print(line(namespace, stack, metrics, unit, **properties), flush=True)
