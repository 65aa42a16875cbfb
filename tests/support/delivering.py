"""A stack with a pipeline on a local cloud, whose router is deployed by the command itself."""

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from support.clouds import pool_of

from components import zips
from local.cloud import LocalCloud
from tlfif.names import ALIAS
from tools.delivery import deploy, rollback

# How long a minute is: an alarm looks at whole ones, a canary lasts one.
MINUTE_S = 1.5
ANSWERS = "def handler(event, context):\n    return {'statusCode': 200, 'body': '%s'}\n"
# Well when it is called directly; with a caller's token it fails.
FAILS_CALLERS = """
def handler(event, context):
    if event["headers"]:
        return {"statusCode": 500, "body": "{}"}
    return {"statusCode": 401, "body": "{}"}
"""
RAISES_FOR_CALLERS = FAILS_CALLERS.replace('return {"statusCode": 500, "body": "{}"}', "1 / 0")


@dataclass
class Site:
    """A running local cloud, and the commands as whoever has the operator's keys calls them."""

    cloud: LocalCloud
    run: Callable[[Any], Any]
    folder: Path
    capture: pytest.CaptureFixture[str] | None = None
    said: str = ""
    changed: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The router's."""
        return self.cloud.output("router_arn").rpartition(":")[2]

    @property
    def lambda_(self) -> Any:
        """Lambda's API, as anybody reaches it."""
        return boto3.client("lambda", region_name=self.cloud.moto.region)

    @property
    def serving(self) -> tuple[str, dict[str, float]]:
        """Which version the alias names, and its weights."""
        told = self.lambda_.get_alias(FunctionName=self.name, Name=ALIAS)
        weights = (told.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
        return told["FunctionVersion"], weights

    @property
    def versions(self) -> list[str]:
        """The published ones."""
        listed = self.lambda_.list_versions_by_function(FunctionName=self.name)["Versions"]
        return [each["Version"] for each in listed if each["Version"] != "$LATEST"]

    @property
    def environment(self) -> dict[str, str]:
        """What a command needs to reach this cloud, as its operator."""
        key, secret = self.cloud.endpoint.operator
        return {
            "AWS_ENDPOINT_URL": self.cloud.endpoint.url,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "TLFIF_SECONDS_PER_MINUTE": str(MINUTE_S),
            "TLFIF_BUNDLE_TARGET": "host",
            "CANARY_PERCENT": "50",
            "CANARY_MINUTES": "2",
        }

    @property
    def outputs(self) -> Path:
        """The file that a build writes of its OUTPUTS_JSON."""
        path = self.folder / "outputs.json"
        path.write_text(json.dumps(self.cloud.recording.outputs | self.changed))
        return path

    def arguments(self, *more: str) -> list[str]:
        return ["--stack", "dev", "--outputs", str(self.outputs), *more]

    def bundle(self, code: str) -> Path:
        """A zip with a router of this code."""
        files = {"router/__init__.py": b"", "router/handler.py": code.encode()}
        path = self.folder / f"{abs(hash(code))}.zip"
        zips.write(path, zips.packed(files))
        return path

    def deploy(self, code: str, *more: str) -> tuple[int, str]:
        """The command with a router of this code: its exit code, and what it said."""
        return self.command(deploy.main, "--no-cost", "--bundle", str(self.bundle(code)), *more)

    def rollback(self, *more: str) -> tuple[int, str]:
        return self.command(rollback.main, *more)

    def command(self, main: Callable[[], int], *more: str) -> tuple[int, str]:
        """A command with the stack's outputs: its exit code, and what it said."""
        assert self.capture is not None
        self.capture.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["command", *self.arguments(*more)])
            code = main()
        told = self.capture.readouterr()
        self.said = told.out + told.err
        return code, self.said

    def until(self, condition: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"still not so: {what}"
            time.sleep(0.1)

    def until_calm(self) -> None:
        """Waits until no alarm that ends a canary rings."""
        client = boto3.client("cloudwatch", region_name=self.cloud.moto.region)
        names = self.cloud.output("deploy_alarms")
        self.until(
            lambda: (
                "ALARM"
                not in {
                    each["StateValue"]
                    for each in client.describe_alarms(AlarmNames=names)["MetricAlarms"]
                }
            ),
            "the alarms are calm",
        )

    def hear(self, seen: Counter[tuple[int, str]], count: int = 3) -> None:
        """Waits until the callers have had so many answers more."""
        enough = seen.total() + count
        self.until(lambda: seen.total() >= enough, f"{count} answers", 120)

    def hear_from_now(self, seen: Counter[tuple[int, str]]) -> None:
        """Leaves the answers that callers get of what the alias names by now, and no others."""
        # It is followed within half a second; then one answer may be under way.
        time.sleep(0.7)
        self.hear(seen, 1)
        seen.clear()
        self.hear(seen)

    @contextmanager
    def callers(self) -> Iterator[Counter[tuple[int, str]]]:
        """Somebody asks again and again for as long as the block lasts; counts what they got."""
        seen: Counter[tuple[int, str]] = Counter()
        over = threading.Event()
        headers = {"Authorization": pool_of(self.cloud).token()}

        def ask() -> None:
            with httpx.Client(base_url=self.cloud.api_url, headers=headers, timeout=60) as client:
                while not over.wait(0.08):
                    answer = client.get("/status")
                    seen[answer.status_code, answer.text[:12]] += 1

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield seen
        finally:
            over.set()
            thread.join()
