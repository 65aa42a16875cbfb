"""The order of the tests: what judges all others' doings comes after them."""

import pytest

LAST = "test_permissions_used.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name == LAST)
