from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox import Limits, Sandbox


@pytest.fixture(scope="session")
def box() -> Iterator[Sandbox]:
    with Sandbox(slots=2, limits=Limits(wall_s=2.0, memory_bytes=512 << 20)) as made:
        yield made
