"""The life of single resources in the local cloud: moto's are made, changed, read and removed
there; all others are what the recordings invent of them.
"""

from collections.abc import Mapping, Set
from typing import Any

from local.aws.moto import Moto
from local.deployment.kinds import CHANGERS, MAKERS, READERS, REMOVERS
from local.deployment.kinds.maker import Inputs, Outputs
from local.machine.valkey import Configurable
from recording import kinds

# maxmemory of a node in bytes, of which ElastiCache's reserved-memory-percent is kept from the
# data.
_NODE_MEMORY = {"cache.t4g.micro": 536_870_912, "cache.t4g.small": 1_471_026_299}
_RESERVED_PERCENT = 25


class Resources:
    """One cloud's resources, by type and id; called from several threads at once.

    `api_url` is where the local gateway listens, the stage's `invokeUrl`.
    """

    def __init__(self, moto: Moto, queue: Configurable, *, api_url: str | None = None) -> None:
        self._moto = moto
        self._queue = queue
        self._api_url = api_url

    def create(self, type_: str, name: str, inputs: Inputs, invented: Outputs) -> Outputs:
        """Makes a resource of this physical name; returns what AWS adds, at least `id`.

        `invented` is what a recording would add. Raises LookupError for a type in no table.
        """
        if type_ not in kinds.KINDS:
            raise LookupError(
                f"the local cloud cannot make {type_} ({name}): add it to recording/kinds/ with a"
                " maker in local/deployment/kinds/, or with what emulates it, or why it is inert"
            )
        if kinds.KINDS[type_].made:
            # Nothing invented may pass for real.
            return MAKERS[type_](self._moto, name, inputs)
        return {**invented, **self._emulated(type_, inputs)}

    def foreseen(self, type_: str, old: Outputs, new: Inputs) -> Set[str]:
        """The outputs of which is known beforehand that a change will change them."""
        function = type_ == kinds.lambda_.FUNCTION.token
        return {"version"} if function and _will_be_published(old, new) else set()

    def change(self, type_: str, id_: str, old: Outputs, new: Inputs) -> Outputs:
        """Changes a resource in place, from `old` properties to `new` inputs; returns what else
        changes.
        """
        if kinds.KINDS[type_].made:
            return CHANGERS[type_](self._moto, id_, old, new)
        return self._emulated(type_, new)

    def read(self, type_: str, id_: str, outputs: Outputs) -> Outputs | None:
        """What there is of a resource, as far as can be told; None when it is gone."""
        return READERS[type_](self._moto, id_, outputs) if kinds.KINDS[type_].made else {}

    def remove(self, type_: str, id_: str, outputs: Outputs) -> None:
        """Removes a resource; one that is gone already is no error."""
        if kinds.KINDS[type_].made:
            REMOVERS[type_](self._moto, id_, outputs)

    def _emulated(self, type_: str, inputs: Inputs) -> dict[str, Any]:
        """Tells what emulates it; returns in what it differs from its recording."""
        match type_:
            case kinds.apigateway.STAGE.token if self._api_url:
                return {"invokeUrl": self._api_url}
            case kinds.elasticache.PARAMETER_GROUP.token:
                parameters = inputs.get("parameters", ())
                self._queue.configure(**{each["name"]: each["value"] for each in parameters})
            case kinds.elasticache.REPLICATION_GROUP.token:
                return self._use_queue(inputs)
        return {}

    def _use_queue(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        memory = _NODE_MEMORY.get(inputs["nodeType"])
        if memory is not None:
            self._queue.configure(maxmemory=memory * (100 - _RESERVED_PERCENT) // 100)
        return {"primaryEndpointAddress": self._queue.host, "port": self._queue.port}


def _will_be_published(old: Outputs, new: Inputs) -> bool:
    """A changed function becomes the next version, where the program asks for versions."""
    changed = any(old.get(key) != value for key, value in new.items())
    return bool(new.get("publish")) and changed
