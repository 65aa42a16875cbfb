"""How weights come: parts from the hub, then the whole checked where it is, then its name.

The hash is of what the bucket has, read again after the upload: the state of a SHA-256 cannot be
kept from run to run, and reading from S3 within the region costs nothing and seconds. So what
arrives is first an object below `incoming/`, and becomes `models/…` by a copy within S3 of that
very object once its hash is right. A run that dies leaves parts, or the whole: the next goes on
from there. Parts are the same whoever writes them, so runs at the same time only help each other.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

from model_fetch.bucket import PART_BYTES, Bucket
from model_fetch.hub import Hub
from model_fetch.refusals import Refusal, Vanished
from tlfif import aws, names
from tlfif.log import log

# Parts at once: so many times PART_BYTES, and once more while it is sent, are in memory.
PARALLEL = 4
ROUNDS = 4


def bring(bucket: Bucket, hub: Hub, sha256: str, otherwise: str) -> str:
    """Brings the weights with this SHA-256, unless they are there; says what is there now.

    Raises Refusal, and boto3's errors.
    """
    for _ in range(ROUNDS):
        try:
            return _bring(bucket, hub, sha256, otherwise)
        except Vanished:
            log("looking again", why="another run was faster")
        except aws.errors() as error:
            # Perhaps for the same reason, in other words.
            if aws.status(error) == 403 or bucket.find(names.model_key(sha256)) is None:
                raise
    raise Refusal("others write and delete the same weights at this moment; tried again in an hour")


def _bring(bucket: Bucket, hub: Hub, sha256: str, otherwise: str) -> str:
    key, incoming = names.model_key(sha256), names.incoming_key(sha256)
    if there := bucket.find(key):
        return f"{key} is there, {there.size:,} bytes"
    if bucket.find(incoming) is None:
        _transfer(bucket, hub, sha256, otherwise)
    arrived = bucket.find(incoming)
    if arrived is None:
        raise Vanished
    found = bucket.digest(arrived)
    if found != sha256:
        bucket.remove(incoming)
        raise Refusal(wrong(sha256, f"what came has {found}", otherwise))
    bucket.copy(arrived, key)
    bucket.remove(incoming)
    bucket.abort(incoming)
    return f"{key} is there, {arrived.size:,} bytes, checked"


def _transfer(bucket: Bucket, hub: Hub, sha256: str, otherwise: str) -> None:
    """From the hub to the bucket, what is not there yet."""
    file = hub.look()
    if file.sha256 not in ("", sha256):
        # Known before anything is fetched, so that it is not fetched every hour.
        raise Refusal(wrong(sha256, f"the hub's file has {file.sha256}", otherwise))
    incoming = names.incoming_key(sha256)
    upload = bucket.upload(incoming)
    ranges = {
        number: (first, min(first + PART_BYTES, file.size) - 1)
        for number, first in enumerate(range(0, file.size, PART_BYTES), start=1)
    }
    there = {number: part["Size"] for number, part in bucket.parts(incoming, upload).items()}
    missing = [n for n, (first, last) in ranges.items() if there.get(n) != last - first + 1]
    log("fetching", size=file.size, parts=len(ranges), missing=len(missing))

    def fetch(number: int) -> None:
        content = hub.read(*ranges[number], file.size)
        bucket.put(incoming, upload, number, content)

    _all(fetch, missing)
    bucket.complete(incoming, upload, len(ranges))


def _all(do: Callable[[int], None], numbers: list[int]) -> None:
    """Does each, some at once; the first failure ends it when what is under way has ended."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        doing = [pool.submit(do, number) for number in numbers]
        try:
            for done in as_completed(doing):
                done.result()
        finally:
            for each in doing:
                each.cancel()


def wrong(wanted: str, found: str, otherwise: str) -> str:
    """The line about a hash."""
    return (
        f"the weights' SHA-256 should be {wanted}, and {found}: correct tl-fif:model.sha256, or "
        f"tl-fif:model.revision and tl-fif:model.file, or {otherwise}"
    )
