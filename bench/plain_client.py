"""Sends prompts straight to an engine, so many at once, and says what that took: the floor that a
worker is measured against.

    python -m bench.plain_client URL IN_FLIGHT MAX_TOKENS < prompts, one a line
"""

import asyncio
import json
import resource
import sys
import time

import httpx

from tlfif import names


async def ask(client: httpx.AsyncClient, prompt: str, max_tokens: int) -> int:
    """Streams one answer; how many tokens it has."""
    request = {
        "model": names.DEFAULT_SERVED_MODEL,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    tokens = 0
    async with client.stream("POST", "/v1/chat/completions", json=request) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                usage = json.loads(line.removeprefix("data: ")).get("usage")
                tokens = usage["completion_tokens"] if usage else tokens
    return tokens


async def ask_all(
    url: str, prompts: list[str], in_flight: int, max_tokens: int
) -> dict[str, float]:
    """Tokens, seconds and CPU seconds of all the answers."""
    slots = asyncio.Semaphore(in_flight)
    # As the worker: a connection each.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(
        base_url=url, limits=limits, timeout=120, trust_env=False
    ) as client:

        async def one(prompt: str) -> int:
            async with slots:
                return await ask(client, prompt, max_tokens)

        began, cpu = time.perf_counter(), cpu_s()
        tokens = sum(await asyncio.gather(*map(one, prompts)))
        return {
            "tokens": tokens,
            "seconds": time.perf_counter() - began,
            "cpu_s": cpu_s() - cpu,
        }


def cpu_s() -> float:
    """This process's CPU seconds so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    url, in_flight, max_tokens = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    prompts = sys.stdin.read().splitlines()
    print(json.dumps(asyncio.run(ask_all(url, prompts, in_flight, max_tokens))))


if __name__ == "__main__":
    main()
