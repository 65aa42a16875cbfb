"""The HTTP surface from a client's side: 401, 403, 202 and /ping through the local gateway, one
call after another.

The client's own time is in the figures, a network is not.

    python -m bench.edge [calls]
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
from jose import jwk, jwt

from bench.arguments import how_many
from bench.figures import percentiles, table
from local.aws.moto import signing_key
from local.cloud import LocalCloud, Options
from local.users import login
from tlfif import names
from tlfif.queue import scripts, working

WARM_UP = 50
BODY = {"prompt": "Hello"}


class Bench:
    """A cloud with one worker a function, a client, and a node that says it is ready, so that
    nothing is woken.
    """

    def __init__(
        self, cloud: LocalCloud, client: httpx.AsyncClient, token: str, calls: int
    ) -> None:
        self.cloud, self.client, self.token, self.calls = cloud, client, token, calls
        self.redis = scripts.connect(cloud.valkey.host, cloud.valkey.port)
        self._claims, self._key = jwt.get_unverified_claims(token), signing_key()
        self._signing = jwk.construct(self._key, "RS256")
        self._number = 0

    def reset(self) -> None:
        """An empty queue, a ready node, no rate limit reached."""
        with self.cloud.valkey.operator() as operator:
            operator.flushall()
        scripts.run(self.redis, working.heartbeat("i-0123456789abcdef0", "b", "ready", 0, {}))

    def new_token(self, **changes: Any) -> str:
        """A token that the gateway has not seen yet."""
        self._number += 1
        claims = {**self._claims, "jti": str(self._number), **changes}
        return jwt.encode(claims, self._signing, "RS256", headers={"kid": self._key["kid"]})

    async def case(
        self,
        status: int,
        token: Callable[[], str] | None,
        method: str = "POST",
        url: str = "/infer",
    ) -> dict[str, float]:
        """Durations of such calls in ms."""
        samples = []
        for number in range(self.calls + WARM_UP):
            self.reset()
            headers = {"Authorization": token()} if token else {}
            began = time.perf_counter()
            answer = await self.client.request(
                method, url, headers=headers, json=BODY if method == "POST" else None
            )
            if number >= WARM_UP:
                samples.append((time.perf_counter() - began) * 1000)
            if answer.status_code != status:
                raise SystemExit(
                    f"bench: expected {status}, got {answer.status_code} {answer.text}"
                )
        return percentiles(samples)

    async def cases(self) -> dict[str, dict[str, float]]:
        """All of them, by name."""
        expired = self.new_token(exp=1)
        return {
            "/ping": await self.case(200, None, "GET", f"{self.cloud.vpc_url}/ping"),
            "401 no token": await self.case(401, None),
            "403 expired, first time": await self.case(403, lambda: self.new_token(exp=1)),
            "403 expired, remembered": await self.case(403, lambda: expired),
            "202 token's first call": await self.case(202, self.new_token),
            "202 token remembered": await self.case(202, lambda: self.token),
        }


async def main(calls: int) -> None:
    # The API's own throttles would measure themselves.
    names.THROTTLES["*/*"] = names.CALLER_THROTTLE = (100_000.0, 100_000)
    async with (
        LocalCloud(Options(workers=1)) as cloud,
        httpx.AsyncClient(base_url=cloud.api_url) as client,
    ):
        bench = Bench(cloud, client, await asyncio.to_thread(login, cloud), calls)
        print(f"{calls} calls each, one after another; the client included, no network")
        print(table(await bench.cases()))


if __name__ == "__main__":
    asyncio.run(main(how_many(__doc__, "calls", 500)))
