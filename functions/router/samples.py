"""Samples payloads in a version's first day: lengths and keyed hashes, never the text (LAM-005)."""

import hashlib
import os
import time

import redis

from tlfif.log import log
from tlfif.queue import accepting, scripts
from tlfif.queue.conversation import dump

INTERVAL_S = 10.0


class Sampler:
    """Samples one accepted job every `INTERVAL_S` per execution environment, for a day."""

    def __init__(self) -> None:
        version = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "")
        self._version = int(version) if version.isdigit() else 0
        # Equal prompts have equal hashes, here and for as long as this environment lives; nobody
        # can try words.
        self._key = os.urandom(16)
        self._next = 0.0

    def see(self, client: "redis.Redis", job: accepting.NewJob, state: str) -> None:
        """Keeps a sample of this job if it is time for one.

        A queue that fails now has accepted the job already.
        """
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + INTERVAL_S
        try:
            sample = accepting.sample(self._version, self._redacted(job, state))
            wanted = scripts.run(client, sample)
        except redis.RedisError as error:
            log("sample lost", "ERROR", why=str(error))
        else:
            self._next = self._next if wanted else float("inf")

    def _redacted(self, job: accepting.NewJob, state: str) -> dict[str, object]:
        asked = (dump(job.messages) if job.messages else job.prompt).encode()
        return {
            "jobId": job.id,
            "version": self._version,
            "messages": len(job.messages),
            "promptBytes": job.prompt_bytes,
            "promptHash": hashlib.blake2b(asked, key=self._key, digest_size=8).hexdigest(),
            "idleMinutes": job.idle_minutes,
            "options": job.options,
            "idempotent": bool(job.idempotency_key),
            "answer": state,
        }
