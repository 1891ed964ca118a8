from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox import Limits, Sandbox
from sandbox.selfcheck import LIMITS

NAMESPACES = ("user", "mount", "pid", "net", "ipc", "uts")


@pytest.fixture(scope="session")
def box() -> Iterator[Sandbox]:
    with Sandbox(slots=2, limits=Limits(wall_s=2.0, memory_bytes=512 << 20)) as made:
        yield made


@pytest.fixture(scope="module", params=["L3", "L2"])
def level_box(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(slots=1, limits=LIMITS, without=NAMESPACES if request.param == "L2" else ()) as box:
        if box.level != request.param:
            pytest.skip(f"this machine gives {box.level}: {box.refused}")
        yield box
