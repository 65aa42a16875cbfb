"""One running API for all fuzzers; the last line of a run says what was sent and what came of it."""

from collections.abc import Iterator

import pytest
from surface import Surface, open_surface


@pytest.fixture(scope="session")
def surface(request: pytest.FixtureRequest) -> Iterator[Surface]:
    with open_surface() as surface:
        yield surface
        request.config.pluginmanager.get_plugin("terminalreporter").write_line(f"\nfuzz: {surface.summary()}")
