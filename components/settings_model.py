"""The `model:` group: which model the nodes and the instant lane serve, and how much of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field, model_validator

from components.models import DEFAULT, PRESETS, Preset, PresetName
from components.settings_groups import Group
from tlfif import names, serving
from tlfif.serving import Format, KvCache

_REPOSITORY = r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$"
_GGUF = r"^[A-Za-z0-9][A-Za-z0-9._-]*\.gguf$"
_COMMIT = r"^[0-9a-f]{40}$"
_SHA256 = r"^[0-9a-f]{64}$"
# Which safetensors have not.
_GGUF_KEYS = ("file", "sha256", "tokenizer", "tokenizerRevision")


@dataclass(frozen=True, kw_only=True)
class LaneWeights:
    """The instant lane's GGUF: its URL at the hub, and its SHA-256.

    `size_bytes` is None where nobody here knows it.
    """

    url: str
    sha256: str
    size_bytes: int | None

    @property
    def key(self) -> str:
        """Where the stack's bucket has it."""
        return names.model_key(self.sha256)


class ModelSettings(Group):
    """The model that is served. What is not set is the preset's."""

    preset: PresetName = Field(
        default=DEFAULT.name,
        description="a model of docs/models.md; what is not set of the other keys of `model:` is "
        "its own",
    )
    hub: str = Field(
        default=serving.HUB,
        max_length=200,
        pattern=r"^(https://[a-z0-9.-]+|http://(127\.0\.0\.1|localhost))(:\d{1,5})?$",
        description="where the repositories are: the Hugging Face Hub, or a mirror of it",
    )
    repository: str = Field(
        default=DEFAULT.weights.repository,
        max_length=200,
        pattern=_REPOSITORY,
        description="owner/name",
    )
    revision: str = Field(
        default=DEFAULT.weights.revision,
        pattern=_COMMIT,
        description="the commit of the repository",
    )
    format: Format = Field(
        default=DEFAULT.format,
        description="what the weights are: one GGUF file, or the safetensors of the whole "
        "repository, which its commit pins",
    )
    file: str | None = Field(
        default=DEFAULT.weights.file,
        max_length=200,
        pattern=_GGUF,
        description="the GGUF file; none with safetensors",
    )
    sha256: str | None = Field(
        default=DEFAULT.weights.sha256,
        pattern=_SHA256,
        description="the SHA-256 of the GGUF file; none with safetensors",
    )
    tokenizer: str | None = Field(
        default=DEFAULT.tokenizer,
        max_length=200,
        pattern=_REPOSITORY,
        description="the repository with tokenizer and config.json, which a GGUF file lacks for "
        "the nodes' engine; none with safetensors",
    )
    tokenizer_revision: str | None = Field(
        default=DEFAULT.tokenizer_revision, pattern=_COMMIT, description="its commit"
    )
    context_length: int = Field(
        default=names.DEFAULT_CONTEXT_TOKENS,
        ge=names.DEFAULT_CONTEXT_TOKENS,
        le=131_072,
        description="how many tokens a prompt and its answer have together",
    )
    kv_cache: KvCache = Field(
        default="auto",
        description="the numbers of the nodes' KV cache: as the model computes, or FP8, which "
        "takes half the memory",
    )
    served_name: str = Field(
        default=names.DEFAULT_SERVED_MODEL,
        max_length=100,
        pattern=r"^[A-Za-z][A-Za-z0-9._/-]*$",
        description="what the engines call it",
    )
    size_gb: float | None = Field(
        default=None,
        gt=0,
        le=1_000,
        description="what the weights of a model that is no preset take, in GB (10^9 bytes): only "
        "then can the preview tell whether they fit",
    )
    lane_repository: str | None = Field(
        default=None,
        max_length=200,
        pattern=_REPOSITORY,
        description="the repository with a GGUF file of its own for the instant lane; by default "
        "it serves the nodes' file, or the preset's for it",
    )
    lane_revision: str | None = Field(
        default=None, pattern=_COMMIT, description="the commit of that repository"
    )
    lane_file: str | None = Field(
        default=None, max_length=200, pattern=_GGUF, description="the file in it"
    )
    lane_sha256: str | None = Field(
        default=None, pattern=_SHA256, description="the SHA-256 of that file"
    )

    @model_validator(mode="before")
    @classmethod
    def _of_preset(cls, values: Any) -> Any:
        """Fills in what is not set."""
        if not isinstance(values, dict):
            return values
        name = values.get("preset", DEFAULT.name)
        if not isinstance(name, str):
            return values
        preset = PRESETS.get(name)
        return {**_defaults(preset, values), **values} if preset else values

    @property
    def known(self) -> Preset | None:
        """The preset, if the weights are its own, by their content."""
        preset = PRESETS[self.preset]
        mine = (self.format, self.sha256 or self.revision)
        its = (preset.format, preset.weights.sha256 or preset.weights.revision)
        return preset if mine == its else None

    @property
    def size_bytes(self) -> int | None:
        """What the weights take; None where nobody said it."""
        if self.known:
            return self.known.weights.size_bytes
        return None if self.size_gb is None else int(self.size_gb * 1e9)

    @property
    def lane(self) -> LaneWeights | None:
        """What the instant lane serves; None without a GGUF, or with half of one's keys."""
        own = (self.lane_repository, self.lane_revision, self.lane_file, self.lane_sha256)
        if own != (None,) * 4:
            return self._lane(*own)
        if self.format == "gguf":
            size = self.size_bytes
            return self._lane(self.repository, self.revision, self.file, self.sha256, size)
        if not (self.known and (its := self.known.lane)):
            return None
        return self._lane(its.repository, its.revision, its.file, its.sha256, its.size_bytes)

    def _lane(
        self,
        repository: str | None,
        revision: str | None,
        file: str | None,
        sha256: str | None,
        size_bytes: int | None = None,
    ) -> LaneWeights | None:
        if not (repository and revision and file and sha256):
            return None
        url = f"{self.hub}/{repository}/resolve/{revision}/{file}"
        return LaneWeights(url=url, sha256=sha256, size_bytes=size_bytes)

    @property
    def missing_of_lane(self) -> str:
        """The first key that the lane's own weights lack; StopIteration where there is none."""
        keys = {
            "laneRepository": self.lane_repository,
            "laneRevision": self.lane_revision,
            "laneFile": self.lane_file,
            "laneSha256": self.lane_sha256,
        }
        return next(key for key, value in keys.items() if value is None)

    @property
    def served(self) -> serving.Model:
        """What an image is baked with."""
        return serving.Model(
            hub=self.hub,
            repository=self.repository,
            revision=self.revision,
            file=self.file or "",
            sha256=self.sha256 or "",
            format=self.format,
            served_name=self.served_name,
            context_tokens=self.context_length,
            tokenizer=self.tokenizer or "",
            tokenizer_revision=self.tokenizer_revision or "",
            kv_cache=self.kv_cache,
        )


def _defaults(preset: Preset, values: Mapping[Any, Any]) -> dict[str, Any]:
    """What the preset says beside these `values`: of a GGUF nothing, where they want none, and no
    tokenizer for another repository's, which would start with the wrong one.
    """
    keys = _keys(preset)
    if values.get("repository", preset.weights.repository) != preset.weights.repository:
        keys.update(tokenizer=None, tokenizerRevision=None)
    if values.get("format", preset.format) != preset.format:
        keys.update(dict.fromkeys(_GGUF_KEYS))
    return keys


def _keys(preset: Preset) -> dict[str, Any]:
    """The keys that a preset sets for the nodes."""
    return {
        "repository": preset.weights.repository,
        "revision": preset.weights.revision,
        "format": preset.format,
        "file": preset.weights.file,
        "sha256": preset.weights.sha256,
        "tokenizer": preset.tokenizer,
        "tokenizerRevision": preset.tokenizer_revision,
        "servedName": preset.name,
    }
