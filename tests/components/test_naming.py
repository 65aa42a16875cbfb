"""Names within AWS's limits."""

import pytest

from components.naming import fitted

LIMIT = 21


@pytest.mark.parametrize("name", ["tl-fif-dev", "tl-fif-literal", "x" * LIMIT])
def test_a_name_that_fits_stays(name: str) -> None:
    assert fitted(name, LIMIT) == name


def test_a_name_too_long_is_cut_the_same_way_and_apart_from_its_neighbours() -> None:
    names = [f"tl-fif-production-of-{where}" for where in ("europe", "africa")]
    cut = [fitted(name, LIMIT) for name in names]
    assert cut == [fitted(name, LIMIT) for name in names]
    assert len(set(cut)) == 2
    assert all(len(name) <= LIMIT and name.startswith("tl-fif-produc") for name in cut)


def test_a_cut_leaves_no_two_hyphens() -> None:
    assert "--" not in fitted("tl-fif-develop-environment", LIMIT)
