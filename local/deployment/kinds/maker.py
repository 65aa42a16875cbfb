"""The registers of what happens in a resource's life in moto: made, changed in place, read,
removed.
"""

from collections.abc import Callable
from functools import wraps

from botocore.exceptions import ClientError

from local.aws.moto import Moto
from local.deployment.kinds.spelling import Inputs, Outputs, told
from recording.kinds.kind import Kind

Maker = Callable[[Moto, str, Inputs], Outputs]
Remover = Callable[[Moto, str, Outputs], None]
Changer = Callable[[Moto, str, Outputs, Inputs], Outputs]
Reader = Callable[[Moto, str, Outputs], Outputs | None]

MAKERS: dict[str, Maker] = {}
REMOVERS: dict[str, Remover] = {}
CHANGERS: dict[str, Changer] = {}
READERS: dict[str, Reader] = {}


def makes(kind: Kind) -> Callable[[Maker], Maker]:
    """Registers a function that makes a resource of this kind in moto.

    It gets moto, the resource's name and its inputs, and returns what AWS adds: at least an `id`.
    """

    def register(maker: Maker) -> Maker:
        MAKERS[kind.token] = maker
        return maker

    return register


def removes(kind: Kind) -> Callable[[Remover], Remover]:
    """Registers a function that removes one: it gets moto, the id, and inputs and outputs in one.

    What is gone already is fine; moto's other refusals, such as DependencyViolation, are raised.
    """

    def register(remover: Remover) -> Remover:
        @wraps(remover)
        def removed(moto: Moto, id_: str, outputs: Outputs) -> None:
            try:
                remover(moto, id_, outputs)
            except ClientError as error:
                if not is_gone(error):
                    raise

        REMOVERS[kind.token] = removed
        return removed

    return register


def changes(kind: Kind, *properties: str) -> Callable[[Changer], Changer]:
    """Registers a function that changes these properties of one in place.

    It gets moto, the id, inputs and outputs of the deployed one, and the new inputs; it returns the
    outputs that AWS changes. NotImplementedError where another property differs.
    """

    def register(changer: Changer) -> Changer:
        @wraps(changer)
        def changed(moto: Moto, id_: str, old: Outputs, new: Inputs) -> Outputs:
            differing = {key for key, value in new.items() if value != old.get(key)}
            if others := differing.difference(properties):
                raise NotImplementedError(
                    f"{kind.token} {id_}: the local cloud cannot change {', '.join(sorted(others))}"
                    f" in place, only: {', '.join(properties) or 'nothing'}"
                )
            return changer(moto, id_, old, new)

        CHANGERS[kind.token] = changed
        return changed

    return register


def reads(kind: Kind) -> Callable[[Reader], Reader]:
    """Registers a function that says what AWS has now of the properties that it can tell, None if
    nothing: it gets moto, the id, and inputs and outputs in one.

    What AWS adds of its own need not be left out: `told` does it.
    """

    def register(reader: Reader) -> Reader:
        @wraps(reader)
        def read(moto: Moto, id_: str, outputs: Outputs) -> Outputs | None:
            try:
                found = reader(moto, id_, outputs)
            except ClientError as error:
                if is_gone(error):
                    return None
                raise
            return None if found is None else told(outputs, found)

        READERS[kind.token] = read
        return read

    return register


def overwrites(kind: Kind) -> None:
    """Registers that this kind is changed by making it again: its API puts what it is given."""

    def changed(moto: Moto, id_: str, old: Outputs, new: Inputs) -> Outputs:
        return MAKERS[kind.token](moto, old.get("name", id_), new)

    CHANGERS[kind.token] = changed


def remakes(kind: Kind) -> None:
    """Registers that this kind is changed by removing it and making it again: moto cannot do what
    AWS does in place.
    """

    def changed(moto: Moto, id_: str, old: Outputs, new: Inputs) -> Outputs:
        REMOVERS[kind.token](moto, id_, old)
        return MAKERS[kind.token](moto, old.get("name", id_), new)

    CHANGERS[kind.token] = changed


def stays(kind: Kind) -> None:
    """Registers that nothing of this kind changes in place."""
    changes(kind)(lambda moto, id_, old, new: {})


def is_gone(error: ClientError) -> bool:
    """Whether AWS refused because there is no such thing (any more)."""
    code = error.response.get("Error", {}).get("Code", "")
    return code == "404" or "NotFound" in code or code.startswith("NoSuch")


def retag(
    old: Inputs,
    new: Inputs,
    *,
    tag: Callable[[dict[str, str]], object],
    untag: Callable[[list[str]], object],
    key: str = "tags",
) -> None:
    """Changes tags as the provider does: takes away those deployed that are no longer declared, and
    sets those that differ.
    """
    before, after = old.get(key) or {}, new.get(key) or {}
    if gone := sorted(before.keys() - after.keys()):
        untag(gone)
    if set_ := {name: value for name, value in after.items() if before.get(name) != value}:
        tag(set_)
