"""How varied a set is: words of the exercises, syntax of the chosen programs, topics. No embeddings, no model.

There are no accepted thresholds for these figures, so that none is an error; compare rounds, or sets of one size. All
are taken from an even sample of exercises. Held: 1,000 statements, the counts of 300 programs.
"""

from __future__ import annotations

import ast
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from advgen.audit.report import Finding
from advgen.audit.sample import Reservoir
from advgen.hygiene.duplicates import Owners
from advgen.hygiene.features import tokens
from advgen.hygiene.pairs import PreferencePair

_STATEMENTS = 1000
_PROGRAMS = 300
_ORDERS = 4  # BLEU's
_NOTHING = 0.1  # stands for a count of 0 in BLEU: Chen and Cherry 2014, method 1

Gram = tuple[str, ...]


class Diversity:
    """The check: informs."""

    def __init__(self) -> None:
        self._exercises = Owners()
        self._statements: Reservoir[str] = Reservoir(_STATEMENTS)
        self._programs: Reservoir[Counter[Gram]] = Reservoir(_PROGRAMS)
        self._topics: Counter[str] = Counter()

    def add(self, pair: PreferencePair) -> None:
        """Look at the first pair of every exercise."""
        if self._exercises.add("exercise", pair.group) is not None:
            return
        self._topics[pair.topic] += 1
        self._statements.offer(lambda: pair.prompt)
        if (module := pair.chosen.module) is not None:
            self._programs.offer(lambda: paths(module))

    def findings(self) -> Iterator[Finding]:
        """One a figure that can be taken."""
        texts = self._statements.items
        words = [tokens(text) for text in texts]
        for n in (1, 2, 3):
            yield _told(
                f"distinct_{n}", distinct(words, n), f"of the {n}-grams of the statements are distinct"
            )
        if len(texts) > 1:
            yield _told("self_bleu", self_bleu(words), "self-BLEU of the statements, 1 when all are alike")
        yield _told(
            "compression_ratio", compression_ratio(texts), "times smaller the statements when compressed"
        )
        if programs := self._programs.items:
            yield _told("vendi", vendi(programs), f"programs in effect, by syntax, among {len(programs)}")
        if any(self._topics):
            number = math.exp(entropy(self._topics.values()))
            yield _told("topics", number, f"topics in effect, among {len(self._topics)}")

    def close(self) -> None:
        """Give up what is on disk."""
        self._exercises.close()


def _told(name: str, number: float, words: str) -> Finding:
    return Finding(check=f"diversity:{name}", severity="info", summary=f"{number:.3g} {words}", number=number)


def grams(tokens: Sequence[str], n: int) -> Counter[Gram]:
    """Runs of `n` tokens, counted."""
    return Counter(zip(*(tokens[at:] for at in range(n)), strict=False))


def distinct(texts: Sequence[Sequence[str]], n: int) -> float:
    """Distinct n-grams by all n-grams (Li et al. 2016, arXiv:1510.03055); falls with the size of the sample."""
    counts: Counter[Gram] = Counter()
    for text in texts:
        counts.update(grams(text, n))
    return len(counts) / counts.total() if counts else 0.0


def self_bleu(texts: Sequence[Sequence[str]]) -> float:
    """Mean BLEU-4 of each of two or more texts against all others (Zhu et al. 2018, arXiv:1802.01886); 0 to 1.

    BLEU clips a count at the most that any one reference has; the two highest counts of each n-gram give that for
    all texts at once, in linear time.
    """
    logs = [0.0] * len(texts)
    for n in range(1, _ORDERS + 1):
        counts = [grams(text, n) for text in texts]
        highest = _two_highest(counts)
        for at, own in enumerate(counts):
            matches = sum(min(count, _highest_of_others(highest[gram], count)) for gram, count in own.items())
            logs[at] += math.log((matches or _NOTHING) / max(1, own.total())) / _ORDERS
    lengths = [len(text) for text in texts]
    return sum(math.exp(log + _brevity(lengths, at)) for at, log in enumerate(logs)) / len(texts)


def _two_highest(counts: Sequence[Counter[Gram]]) -> dict[Gram, tuple[int, int]]:
    highest: dict[Gram, tuple[int, int]] = {}
    for own in counts:
        for gram, count in own.items():
            first, second = highest.get(gram, (0, 0))
            highest[gram] = (count, first) if count > first else (first, max(second, count))
    return highest


def _highest_of_others(highest: tuple[int, int], own: int) -> int:
    return highest[1] if own == highest[0] else highest[0]


def _brevity(lengths: Sequence[int], at: int) -> float:
    """The logarithm of BLEU's penalty for being shorter than the reference of the closest length."""
    own = lengths[at]
    if not own:
        return 0.0
    closest = min((*lengths[:at], *lengths[at + 1 :]), key=lambda length: (abs(length - own), length))
    return min(0.0, 1 - closest / own)


def compression_ratio(texts: Sequence[str]) -> float:
    """Bytes by compressed bytes: more where texts repeat one another (Shaib et al. 2024, arXiv:2403.00553)."""
    data = "\n".join(texts).encode()
    return len(data) / len(zlib.compress(data, 9))


def paths(module: ast.Module) -> Counter[Gram]:
    """Node types of a program, counted: alone, below their parent, and below that one's parent."""
    counts: Counter[Gram] = Counter()
    level: list[tuple[ast.AST, Gram]] = [(module, ())]
    while level:
        node, above = level.pop()
        path = (*above, type(node).__name__)[-3:]
        counts.update(path[at:] for at in range(len(path)))
        level += [(child, path) for child in ast.iter_child_nodes(node)]
    return counts


def vendi(items: Sequence[Mapping[Gram, float]]) -> float:
    """How many different items there are in effect: exp of the entropy of the eigenvalues of their similarities by n.

    n equal items give 1, n without anything in common n (Friedman and Dieng 2022, arXiv:2210.02410, on cosines).
    """
    import numpy as np

    columns = {gram: at for at, gram in enumerate(sorted({gram for item in items for gram in item}))}
    x_NV = np.zeros((len(items), len(columns)))
    for at, item in enumerate(items):
        x_NV[at, [columns[gram] for gram in item]] = list(item.values())
    x_NV /= np.linalg.norm(x_NV, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(x_NV @ x_NV.T / len(items))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def entropy(counts: Iterable[int]) -> float:
    """Shannon entropy of a histogram, in nats."""
    counts = list(counts)
    shares = [count / sum(counts) for count in counts if count]
    return -sum(share * math.log(share) for share in shares)
