"""One running API for all fuzzers; a run's last line says what was sent and what came of it."""

from collections.abc import Iterator

import pytest
from support.surface import Surface, open_surface


@pytest.fixture(scope="session")
def surface(request: pytest.FixtureRequest) -> Iterator[Surface]:
    with open_surface() as surface:
        yield surface
        with request.config.pluginmanager.get_plugin(
            "capturemanager"
        ).global_and_fixture_disabled():
            print(f"\nfuzz: {surface.summary()}")
