"""How much two texts say in the same words: ROUGE-L. Pure standard library."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

MOST_WORDS = 1_000
"""Of each text, those that `rouge_l` looks at."""
_WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """The runs of letters and digits, in lower case; an underscore divides."""
    return _WORD.findall(text.lower())


def rouge_l(one: Sequence[str], other: Sequence[str]) -> float:
    """F1 of the longest common subsequence, 0 to 1, over the first `MOST_WORDS` tokens of each.

    Source: Lin 2004, https://aclanthology.org/W04-1013; the subsequence by bits, Hyyrö 2004.
    """
    one, other = one[:MOST_WORDS], other[:MOST_WORDS]
    if not one or not other:
        return 0.0
    places: defaultdict[str, int] = defaultdict(int)
    for at, token in enumerate(one):
        places[token] |= 1 << at
    full = unmatched = (1 << len(one)) - 1
    for token in other:
        hit = unmatched & places.get(token, 0)
        unmatched = (unmatched + hit | unmatched - hit) & full
    return 2 * (len(one) - unmatched.bit_count()) / (len(one) + len(other))
