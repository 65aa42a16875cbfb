"""How long the cost publisher takes, from its bundle, before stubs that answer as late as AWS may.

The delays are assumptions (log-normal, by their median and 99th percentile); none was measured on
AWS by us. Each call asks S3, Budgets and EC2, and Cost Explorer as often as `costs:source` says.
Cold calls have a process each, whose imports and clients come before the call, as in Lambda's init.

    python -m bench.publisher [calls]
"""

import json
import math
import random
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

from bench.arguments import how_many
from bench.figures import percentiles, table
from components import bundle
from local.lambda_.host import runtime_dir
from tlfif.money import months
from tlfif.money.documents import Billed, Ledger, Metered, Tariff

CALLS, COLD_CALLS, LIMIT_MS = 300, 40, 1_000
CALLS_A_DAY = 96
# Median and 99th percentile, in ms.
DELAYS = {"s3": (25, 150), "ec2": (90, 400), "budgets": (180, 600), "ce": (500, 1_500)}
BUDGET = {"Budget": {"CalculatedSpend": {"ActualSpend": {"Amount": "3.0", "Unit": "USD"}}}}
EXPLORED = {"ResultsByTime": []}
NONE = "<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>"
RUN = """
import io, json, sys, time
from contextlib import redirect_stdout
from cost_publisher.handler import handler
took = []
for _ in range({calls}):
    began = time.perf_counter()
    with redirect_stdout(io.StringIO()):
        handler({{}}, None)
    took.append((time.perf_counter() - began) * 1000)
print(json.dumps(took))
"""


class Stub(BaseHTTPRequestHandler):
    """All of AWS that the function asks."""

    protocol_version = "HTTP/1.1"
    objects: ClassVar[dict[str, str]] = {}

    def do_GET(self) -> None:
        _wait("s3")
        found = self.objects.get(self.path.partition("/bucket/")[2])
        missing = "<Error><Code>NoSuchKey</Code></Error>"
        self._answer(200 if found else 404, found or missing)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        _wait("s3")
        self._answer(200, "")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        target = self.headers.get("X-Amz-Target", "")
        if "DescribeBudget" in target:
            _wait("budgets")
            self._answer(200, json.dumps(BUDGET))
        elif "GetCostAndUsage" in target:
            _wait("ce")
            self._answer(200, json.dumps(EXPLORED))
        else:
            _wait("ec2")
            self._answer(200, NONE)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def _answer(self, status: int, body: str) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())
        except OSError:
            self.close_connection = True  # the caller has given up


def _wait(service: str) -> None:
    median, p99 = DELAYS[service]
    time.sleep(random.lognormvariate(math.log(median), math.log(p99 / median) / 2.326) / 1000)


def documents(*, asked: bool) -> dict[str, str]:
    """What the bucket has; Cost Explorer `asked` today already, or not yet."""
    now = time.time()
    month = months.month(now)
    tariff = Tariff(
        stack="dev",
        cap_usd=23.0,
        usd_per_eur=1.15,
        fixed_usd=13.3,
        assumed_usd=0.9,
        gpu_usd_per_hour=0.531,
        gpu_count=1,
    )
    billed = Billed(month=month, at=now - 60, actual_usd=3.0, asked_at=now if asked else 0.0)
    told = (tariff, Ledger(month=month, at=now - 60), Metered(month=month, at=now - 60), billed)
    return {each.KEY: each.text() for each in told}


def called(folder: Path, url: str, source: str, calls: int) -> list[float]:
    """How many ms each of so many calls of one process took."""
    env = {
        "PYTHONPATH": f"{folder}:{runtime_dir()}",
        "PATH": "/usr/bin:/bin",
        "AWS_LAMBDA_FUNCTION_NAME": "cost-publisher",
        "AWS_ENDPOINT_URL": url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "TLFIF_STACK": "dev",
        "TLFIF_REPLIES_BUCKET": "bucket",
        "TLFIF_ACCOUNT_ID": "123456789012",
        "TLFIF_BUDGET_NAME": "tl-fif-dev",
        "TLFIF_COST_SOURCE": source,
    }
    done = subprocess.run(
        [sys.executable, "-S", "-c", RUN.format(calls=calls)],
        cwd=folder,
        env=env,
        capture_output=True,
        check=True,
        text=True,
    )
    return json.loads(done.stdout)


def measure(folder: Path, url: str, calls: int, cold_calls: int) -> dict[str, list[float]]:
    """The cases: of those by the ledger, one in a day's calls asks Cost Explorer too."""
    Stub.objects = documents(asked=True)
    warm = called(folder, url, "ledger", calls)
    cold = [ms for _ in range(cold_calls) for ms in called(folder, url, "ledger", 1)]
    Stub.objects = documents(asked=False)
    daily = called(folder, url, "ledger", max(1, round(calls / CALLS_A_DAY)))
    asking = called(folder, url, "costExplorer", max(2, calls // 3))
    return {
        "by the ledger": [*warm, *daily],
        "by the ledger, cold": cold,
        "the call that asks once a day": [*daily, *called(folder, url, "ledger", 20)],
        "costs:source = costExplorer": asking,
    }


def main(calls: int) -> int:
    """Prints the table; 1 if a call in a hundred takes longer than the story allows."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            with zipfile.ZipFile(bundle.build("cost_publisher", "host")) as archive:
                archive.extractall(scratch)
            url = f"http://127.0.0.1:{server.server_port}"
            took = measure(Path(scratch), url, calls, min(COLD_CALLS, calls))
    finally:
        server.shutdown()
    figures = {name: percentiles(each) for name, each in took.items()}
    print(table(figures))
    slowest = max(figures[case]["p99"] for case in ("by the ledger", "by the ledger, cold"))
    return int(slowest >= LIMIT_MS)


if __name__ == "__main__":
    sys.exit(main(how_many(__doc__, "calls", CALLS)))
