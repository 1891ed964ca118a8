"""Random texts are the same in every run."""

import random

import pytest


@pytest.fixture
def rng():
    return random.Random(1)
