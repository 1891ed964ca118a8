"""The scan finds what makes runs differ and lets the rest be."""

from __future__ import annotations

import pytest

from sandbox import nondeterminism


@pytest.mark.parametrize(
    ("source", "causes"),
    [
        ("def f(x): return x + 1", ()),
        ("import time\ndef f(): return time.time()", ("time",)),
        ("from time import perf_counter as p\nx = p()", ("time",)),
        ("from datetime import datetime\nx = datetime.now()", ("time",)),
        ("from datetime import datetime, timedelta\nx = datetime(2020, 1, 1) + timedelta(1)", ()),
        ("import random\nx = random.random()", ("random",)),
        ("import random\nrandom.seed(1)\nx = random.random()", ()),
        ("import random, uuid\nrandom.seed(1)\nx = random.random(), uuid.uuid4()", ("random",)),
        ("import threading\nthreading.Thread()", ("threads",)),
        ("import urllib.request\nurllib.request.urlopen('')", ("network",)),
        ("x = hash('a'), id(x)", ("address", "hash")),
        ("for x in {1, 2}: print(x)", ("set order",)),
        ("for x in sorted(set('ab')): print(x)", ()),
    ],
)
def test_each_cause_is_found(source: str, causes: tuple[str, ...]) -> None:
    assert nondeterminism(source) == causes


def test_a_text_that_is_no_python_is_refused() -> None:
    with pytest.raises(SyntaxError):
        nondeterminism("def")
