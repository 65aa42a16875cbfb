"""The stack's bucket: weights on their way below one prefix, weights that are right below
another.
"""

import hashlib
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from model_fetch.refusals import Clock, Vanished
from tlfif import aws

# S3 wants 5 MiB at least and 10,000 parts at most: good for 167 GB. Several are in memory at once.
PART_BYTES = 16 << 20
# What is read again by one request; and copied by one, which may be 5 GB at most.
_READ_BYTES, COPY_BYTES = 64 << 20, 1 << 30
_CHUNK = 1 << 20
_TRIES = 5
# IAM is consistent in the end: a role that has just been given something may be refused it still.
PROPAGATION_S, PAUSE_S = 30.0, 2.0
_GONE = frozenset({"404", "NoSuchKey", "NoSuchUpload", "PreconditionFailed", "412", "InvalidPart"})


@dataclass(frozen=True, kw_only=True)
class Object:
    """An object as it is now: another with the same key has another `etag`."""

    key: str
    size: int
    etag: str


class Bucket:
    """One bucket by its name. Raises Vanished where something is no longer as it was, and boto3's
    errors.
    """

    def __init__(self, s3: Any, name: str, clock: Clock) -> None:
        self._s3, self._name, self._clock = s3, name, clock

    def find(self, key: str) -> Object | None:
        """The object, or None. Waits for a role that was made a moment ago."""
        until = time.monotonic() + PROPAGATION_S
        while True:
            try:
                found = self._s3.head_object(Bucket=self._name, Key=key)
                return Object(key=key, size=found["ContentLength"], etag=found["ETag"])
            except aws.errors() as error:
                if aws.status(error) == 404:
                    return None
                if aws.status(error) != 403 or time.monotonic() > until:
                    raise
            self._clock.check()
            time.sleep(PAUSE_S)

    # --- an upload in parts, which several runs may work on

    def upload(self, key: str) -> str:
        """The id of the upload of this key: the oldest, so that runs at the same time have one."""
        if not self._uploads(key):
            self._s3.create_multipart_upload(Bucket=self._name, Key=key)
        uploads = self._uploads(key)
        if not uploads:
            raise Vanished
        return uploads[0]

    def _uploads(self, key: str) -> list[str]:
        pages = self._s3.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._name, Prefix=key
        )
        found = [each for page in pages for each in page.get("Uploads", ()) if each["Key"] == key]
        oldest_first = sorted(found, key=lambda each: (each["Initiated"], each["UploadId"]))
        return [each["UploadId"] for each in oldest_first]

    def parts(self, key: str, upload: str) -> dict[int, Mapping[str, Any]]:
        """The parts of an upload that are there, by number."""
        with _vanishing():
            pages = self._s3.get_paginator("list_parts").paginate(
                Bucket=self._name, Key=key, UploadId=upload
            )
            return {each["PartNumber"]: each for page in pages for each in page.get("Parts", ())}

    def put(self, key: str, upload: str, number: int, content: bytearray) -> None:
        """Writes a part; the same one twice is fine."""
        with _vanishing():
            self._s3.upload_part(
                Bucket=self._name, Key=key, UploadId=upload, PartNumber=number, Body=content
            )

    def complete(self, key: str, upload: str, count: int) -> None:
        """Makes an object of the first `count` parts."""
        there = self.parts(key, upload)
        if not there.keys() >= set(range(1, count + 1)):
            raise Vanished
        # Also what S3 noted of each, if it did: an upload with checksums wants to see them.
        told = [
            {
                name: value
                for name, value in there[number].items()
                if name in ("PartNumber", "ETag") or name.startswith("Checksum")
            }
            for number in range(1, count + 1)
        ]
        with _vanishing():
            self._s3.complete_multipart_upload(
                Bucket=self._name, Key=key, UploadId=upload, MultipartUpload={"Parts": told}
            )

    def abort(self, key: str) -> None:
        """Ends every upload of this key; their parts are gone."""
        for upload in self._uploads(key):
            try:
                with _vanishing():
                    self._s3.abort_multipart_upload(Bucket=self._name, Key=key, UploadId=upload)
            except Vanished:
                continue

    # --- what is whole

    def digest(self, found: Object) -> str:
        """The SHA-256 of the object, as the bucket has it."""
        digest, position, failed = hashlib.sha256(), 0, 0
        while position < found.size:
            try:
                for chunk in self._chunks(found, position):
                    self._clock.check()
                    digest.update(chunk)
                    position += len(chunk)
            except aws.errors():
                # Cut: goes on with the byte after the last.
                failed += 1
                if failed == _TRIES:
                    raise
        return digest.hexdigest()

    def _chunks(self, found: Object, first: int) -> Generator[bytes, None, None]:
        last = min(first + _READ_BYTES, found.size) - 1
        with _vanishing():
            answer = self._s3.get_object(
                Bucket=self._name,
                Key=found.key,
                IfMatch=found.etag,
                Range=f"bytes={first}-{last}",
            )
        yield from answer["Body"].iter_chunks(_CHUNK)

    def copy(self, found: Object, key: str) -> None:
        """Makes this very object visible under `key`, all at once; the bytes stay in S3."""
        if found.size > COPY_BYTES:
            self._copy_in_parts(found, key)
            return
        with _vanishing():
            self._s3.copy_object(
                Bucket=self._name,
                Key=key,
                CopySource=self._source(found),
                CopySourceIfMatch=found.etag,
            )

    def _source(self, found: Object) -> dict[str, str]:
        return {"Bucket": self._name, "Key": found.key}

    def _copy_in_parts(self, found: Object, key: str) -> None:
        create = self._s3.create_multipart_upload(Bucket=self._name, Key=key)
        upload = {"Bucket": self._name, "Key": key, "UploadId": create["UploadId"]}
        try:
            parts = [
                {"PartNumber": number, **self._copied(found, upload, number, first)}
                for number, first in enumerate(range(0, found.size, COPY_BYTES), start=1)
            ]
            self._s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        except BaseException:
            self._s3.abort_multipart_upload(**upload)
            raise

    def _copied(
        self, found: Object, upload: Mapping[str, str], number: int, first: int
    ) -> dict[str, str]:
        """One part of a copy, as S3 noted it: its ETag and its checksums, if any."""
        self._clock.check()
        last = min(first + COPY_BYTES, found.size) - 1
        with _vanishing():
            answer = self._s3.upload_part_copy(
                **upload,
                PartNumber=number,
                CopySource=self._source(found),
                CopySourceIfMatch=found.etag,
                CopySourceRange=f"bytes={first}-{last}",
            )
        noted = answer["CopyPartResult"].items()
        return {name: value for name, value in noted if name != "LastModified"}

    def remove(self, key: str) -> None:
        """Deletes an object; one that is not there is fine."""
        self._s3.delete_object(Bucket=self._name, Key=key)


@contextmanager
def _vanishing() -> Generator[None, None, None]:
    try:
        yield
    except aws.errors() as error:
        if aws.code(error) in _GONE:
            raise Vanished from error
        raise
