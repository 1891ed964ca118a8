"""The gate for duplicates: what is new is decided in the order of the specs, whatever the order of arrival."""

import asyncio

from advgen.hygiene.duplicates import Pool
from advgen.pipeline.exercise import DuplicateGate

ONE = "def a(x: int) -> int:\n    '''Return the largest power of two that does not exceed the number x, or zero.'''"
TWO = "def b(word: str) -> str:\n    '''Reverse every run of vowels in the word and leave all consonants in place.'''"


def decide(arrivals):
    """What each duplicates, keyed by index, when (index, name, stub or None) arrive in that order."""

    async def all_of_them():
        with Pool(None) as pool:
            gate = DuplicateGate(pool)
            found = {}

            async def one(index, name, stub):
                if stub is None:
                    gate.skip(index)
                else:
                    found[index] = await gate.duplicate_of(index, name, stub)

            await asyncio.wait_for(asyncio.gather(*(one(*each) for each in arrivals)), 5)
            return found

    return asyncio.run(all_of_them())


def test_the_first_seed_stays_though_its_duplicate_came_before_it():
    found = decide([(2, "late", ONE), (1, "other", TWO), (0, "early", ONE)])
    assert (found[0], found[1]) == ("", "")
    assert "early" in found[2]


def test_a_seed_that_never_takes_its_turn_holds_nobody_up():
    assert decide([(2, "c", TWO), (1, "b", None), (0, "a", ONE)]) == {0: "", 2: ""}


def test_skipping_twice_or_after_the_turn_changes_nothing():
    async def twice():
        with Pool(None) as pool:
            gate = DuplicateGate(pool)
            assert await gate.duplicate_of(0, "a", ONE) == ""
            gate.skip(0)
            gate.skip(0)
            assert await asyncio.wait_for(gate.duplicate_of(1, "b", TWO), 5) == ""

    asyncio.run(twice())
