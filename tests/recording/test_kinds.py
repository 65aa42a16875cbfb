"""The table of kinds: every type that the program declares is in it, once."""

import re

import pytest
from support.recordings import evaluate

from recording.kinds import KINDS, SERVICES
from recording.kinds.kind import Kind
from recording.shipped import stacks

ENTRIES = [each for module in SERVICES for each in vars(module).values() if isinstance(each, Kind)]


@pytest.mark.parametrize("stack", stacks())
def test_every_type_of_the_program_is_in_the_table(stack: str) -> None:
    declared = {each.type for each in evaluate(stack).resources if each.custom}
    assert declared - KINDS.keys() == set()


def test_no_type_has_two_entries() -> None:
    assert len(ENTRIES) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.token)
def test_an_entry_is_well_formed(kind: Kind) -> None:
    found = re.fullmatch(r"aws:[a-z0-9]+/(\w+):(\w+)", kind.token)
    assert found
    assert found[1] == found[2][:1].lower() + found[2][1:]
    assert "id" in kind.shape
    assert not (kind.emulated and kind.inert)
