"""Downloads the model of model.json from its hub into model/, and checks every file.

A GGUF file is checked against the SHA-256 of model.json; beside it comes the base model's
tokenizer/. Files of a pinned revision are checked against what the hub lists for that revision.
"""

import contextlib
import hashlib
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from tlfif import serving

T = TypeVar("T")

TRIES, PAUSE_S, SILENCE_S = 4, 2.0, 30
_CHUNK = 1 << 20
# What vLLM reads beside the weights: configuration, tokenizer, chat template.
TEXTS = (".json", ".model", ".txt", ".jinja")
WEIGHTS = (".safetensors",)
# Of another engine, or the same weights once more.
NOT_READ = ("onnx/", "original/", "openvino/", "coreml/")


class WeightsError(Exception):
    """The model cannot be had as model.json describes it; the message says why, and the fix."""


def main() -> None:
    """Fills serving.MODEL_FOLDER; exits with 1 and a line where it cannot."""
    try:
        model = serving.Model.model_validate_json(serving.MODEL_FILE.read_bytes())
        fetch(model, serving.MODEL_FOLDER)
    except (WeightsError, ValidationError) as error:
        sys.exit(f"weights.py: {error}")


def fetch(model: serving.Model, folder: Path) -> None:
    """Downloads the model into the folder. Raises WeightsError."""
    hub = model.hub
    if model.format == "safetensors":
        _fetch_listed(hub, model.repository, model.revision, (*TEXTS, *WEIGHTS), folder)
        return
    digest = _download(
        _resolve(hub, model.repository, model.revision, model.file), folder / model.file
    )
    if digest != model.sha256:
        (folder / model.file).unlink()
        raise WeightsError(
            f"model.sha256 = {model.sha256!r}: {model.file} of {model.repository} at "
            f"{model.revision} has {digest}; correct the model's configuration"
        )
    _fetch_listed(hub, model.tokenizer, model.tokenizer_revision, TEXTS, folder / "tokenizer")


def _fetch_listed(
    hub: str, repository: str, revision: str, endings: tuple[str, ...], folder: Path
) -> None:
    """The files of a revision with these endings, each as the hub lists it."""
    url = f"{hub}/api/models/{repository}/tree/{revision}?recursive=true"
    listed = _patiently(url, lambda: _listed(url, f"{repository} at {revision}"))
    wanted = [each for each in listed if each["type"] == "file" and _is_read(each["path"], endings)]
    if not any(each["path"] == "config.json" for each in wanted):
        raise WeightsError(f"{repository} at {revision} has no config.json; name another revision")
    for each in wanted:
        path = folder / each["path"]
        if not path.resolve().is_relative_to(folder.resolve()):
            raise WeightsError(f"{repository} at {revision} lists {each['path']!r}: no place in it")
        digest = _download(_resolve(hub, repository, revision, each["path"]), path)
        if "lfs" in each and digest != each["lfs"]["oid"]:
            raise WeightsError(f"{path.name}: {digest} is not the hub's {each['lfs']['oid']}")
        if "lfs" not in each and _git_hash(path) != each["oid"]:
            raise WeightsError(f"{path.name} is not the hub's {each['oid']}")


def _listed(url: str, what: str) -> list[Mapping[str, Any]]:
    with _opened(url) as answer:
        if "next" in answer.headers.get("link", ""):
            raise WeightsError(f"{what} has more files than one page lists")
        return json.load(answer)


def _is_read(path: str, endings: tuple[str, ...]) -> bool:
    return path.endswith(endings) and not path.startswith(NOT_READ)


def _resolve(hub: str, repository: str, revision: str, path: str) -> str:
    return f"{hub}/{repository}/resolve/{revision}/{urllib.parse.quote(path)}"


def _download(url: str, path: Path) -> str:
    """Writes what the URL has; its SHA-256. A cut download begins again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return _patiently(url, lambda: _written(url, path))


def _written(url: str, path: Path) -> str:
    began, digest, size = time.monotonic(), hashlib.sha256(), 0
    with _opened(url) as answer, path.open("wb") as file:
        expected = answer.headers.get("content-length")
        while chunk := answer.read(_CHUNK):
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    if expected is not None and size != int(expected):
        raise OSError(f"{size} of {expected} bytes came")
    print(f"{path.name}: {size:,} bytes in {time.monotonic() - began:.1f} s", flush=True)
    return digest.hexdigest()


def _patiently(url: str, ask: Callable[[], T]) -> T:
    """What the hub answers, asked up to TRIES times. Raises WeightsError."""
    for tried in range(1, TRIES):
        # A body that is cut, or is no JSON, is a proxy's: it may be another's turn next time.
        with contextlib.suppress(OSError, HTTPException, ValueError):
            return ask()
        time.sleep(PAUSE_S * tried)
    try:
        return ask()
    except (OSError, HTTPException, ValueError) as error:
        raise WeightsError(f"{url}: {error}") from error


def _opened(url: str) -> Any:
    """An answer. Raises WeightsError where trying again does not help, OSError where it may."""
    try:
        return urllib.request.urlopen(url, timeout=SILENCE_S)
    except urllib.error.HTTPError as error:
        if error.code in (401, 403, 404):
            raise WeightsError(
                f"{url}: HTTP {error.code}; correct the model's repository, revision and file, "
                "or name one that needs no token"
            ) from error
        raise


def _git_hash(path: Path) -> str:
    """What git, and so the hub, calls a file's content."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


if __name__ == "__main__":
    main()
