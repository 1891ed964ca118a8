"""Twelve kinds of exercise, each with two ways to write it right and small edits that make it wrong. Data for tests.

`K` and `M` stand for drawn numbers, `T` in a statement for a drawn thing.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass

Edit = tuple[str, str]


@dataclass(frozen=True)
class Way:
    """A body, and edits of which each alone makes it wrong on most numbers."""

    body: str
    edits: tuple[Edit, ...]


def way(body: str, *edits: Edit) -> Way:
    """A Way, its body indented as it stands here."""
    return Way(inspect.cleandoc(body), edits)


class Kind:
    """One formula. Takes its one parameter's name and argument lists as source."""

    def __init__(self, name: str, parameter: str, calls: tuple[str, ...], statement: str, *ways: Way) -> None:
        self.name, self.parameter, self.calls, self.statement, self.ways = (
            name,
            parameter,
            calls,
            statement,
            ways,
        )


NUMBERS = (
    "[]", "[0]", "[1, 2, 3]", "[K]", "[K, M]", "[M, K, M, K]", "[K + 1, K - 1, M + 1, M - 1, 7 * K]",
    "[5 * M, -3, K * M, 2 * K, 11]",
)  # fmt: skip
WORDS = (
    '""', '"abcxyz"', '"Queue of ten"', '"zzz aaa zzz"', '"oh no, not again"',
    '"one two three four five six seven eight nine ten eleven twelve"',
)  # fmt: skip
LONG_LISTS = (*(f"list(range({n}))" for n in (0, 1, 5, 12, 30, 61)), "[9, 1, 1, 9, 9, 1] * 8")

KINDS = (
    Kind(
        "excess", "values", NUMBERS,
        "Add up by how much each T in `values` goes beyond K; the total stops growing at M.",
        way(
            """
            total = 0
            for value in values:
                if value > K:
                    total += value - K
            return min(total, M)
            """,
            ("value - K", "value"), ("min(total, M)", "total + M"), ("value > K", "value < K"),
        ),
        way(
            """
            extra = [value - K for value in values if value > K]
            return min(sum(extra), M)
            """,
            ("value - K for", "value for"), ("if value > K", "if value < K"), ("min(sum", "max(sum"),
        ),
    ),
    Kind(
        "multiples", "values", (*NUMBERS, '[K * M, K * M + K, 1]'),
        "How many of these T counts divide evenly by K, when anything under M is left aside?",
        way(
            """
            found = 0
            for value in values:
                if value >= M and value % K == 0:
                    found += 1
            return found
            """,
            ("value >= M", "value <= M"), ("found += 1", "found += K"),
            ("value % K == 0", "value % K != 0"),
        ),
        way(
            """
            large = filter(lambda value: value >= M, values)
            return sum(1 for value in large if value % K == 0)
            """,
            ("value >= M", "value <= M"), ("sum(1 for", "sum(K for"), ("% K == 0", "% K != 0"),
        ),
    ),
    Kind(
        "turned", "text", WORDS,
        "Move the first K characters of a T label behind the rest, then repeat the outcome M times.",
        way(
            """
            cut = K % len(text) if text else 0
            return (text[cut:] + text[:cut]) * M
            """,
            ("text[cut:] + text[:cut]", "text[:cut] + text[cut:]"), ("* M", "* (M + 1)"),
        ),
        way(
            """
            letters = list(text)
            for _ in range(K):
                if letters:
                    letters.append(letters.pop(0))
            return ''.join(letters) * M
            """,
            ("pop(0)", "pop()"), ("* M", "* (M - 1)"),
        ),
    ),
    Kind(
        "shifted", "text", (*WORDS, '"a" * (M + 3)', '"lazy" * M'),
        "Write a T code: small letters step K places on through the alphabet, and M signs at most are "
        "kept.",
        way(
            """
            out = ''
            for sign in text[:M]:
                if 'a' <= sign <= 'z':
                    sign = chr((ord(sign) - 97 + K) % 26 + 97)
                out += sign
            return out
            """,
            ("+ K) % 26", "- K - 1) % 26"), ("text[:M]", "text[M:]"), ("- 97 + K", "- 96 + K"),
        ),
        way(
            """
            alphabet = 'abcdefghijklmnopqrstuvwxyz'
            moved = [alphabet[(alphabet.index(sign) + K) % 26] if sign in alphabet else sign for sign in text]
            return ''.join(moved[:M])
            """,
            ("+ K) % 26", "- K - 1) % 26"), ("moved[:M]", "moved[M:]"),
        ),
    ),
    Kind(
        "windows", "values", LONG_LISTS,
        "The largest sum of K neighbours among T readings, raised by M; without enough readings it is M.",
        way(
            """
            best = 0
            for start in range(len(values) - K + 1):
                best = max(best, sum(values[start:start + K]))
            return best + M
            """,
            ("start + K]", "start + K + 1]"), ("best + M", "best - M"), ("max(best", "min(best"),
        ),
        way(
            """
            sums = [sum(values[at:at + K]) for at in range(len(values) - K + 1)]
            return max([0, *sums]) + M
            """,
            ("at + K]", "at + K + 1]"), ("+ M", "- M"), ("max([", "min(["),
        ),
    ),
    Kind(
        "digits", "values", (*NUMBERS, 'list(range(K * 3))'),
        "Take the last digit in base K of each T number and give the sum of them modulo M.",
        way(
            """
            total = 0
            for value in values:
                total += value % K
            return total % M
            """,
            ("value % K", "value // K"), ("total % M", "total // M"), ("total = 0", "total = 1"),
        ),
        way(
            """
            return sum(map(lambda value: value % K, values)) % M
            """,
            ("value % K", "value // K"), (")) % M", ")) // M"),
        ),
    ),
    Kind(
        "spaced", "text", WORDS,
        "Of a T sentence pick every K-th word, starting with the first, and join what M of them say by "
        "dashes.",
        way(
            """
            words = text.split()
            picked = []
            for at, word in enumerate(words):
                if at % K == 0:
                    picked.append(word)
            return '-'.join(picked[:M])
            """,
            ("at % K == 0", "at % K == 1"), ("picked[:M]", "picked[M:]"), ("'-'.join", "'+'.join"),
        ),
        way(
            """
            words = text.split()[::K]
            return '-'.join(words[:M])
            """,
            ("[::K]", "[1::K]"), ("words[:M]", "words[M:]"), ("'-'.join", "'+'.join"),
        ),
    ),
    Kind(
        "padded", "text", (*WORDS, '"w" * (K + M + 4)'),
        "Bring a T name to exactly K + M characters: too long is cut at the end, too short gets dots in "
        "front.",
        way(
            """
            width = K + M
            if len(text) >= width:
                return text[:width]
            return '.' * (width - len(text)) + text
            """,
            ("'.' * (width - len(text)) + text", "text + '.' * (width - len(text))"),
            ("K + M", "K + M + 1"),
        ),
        way(
            """
            short = text[:K + M]
            return short.rjust(K + M, '.')
            """,
            ("rjust", "ljust"), ("rjust(K + M", "rjust(K + M + 1"), ("'.'", "'_'"),
        ),
    ),
    Kind(
        "streak", "values", (*NUMBERS, 'list(range(0, 90, K + 1))', 'list(range(0, 90, K))'),
        "Length of the longest stretch in which one T value differs from the next by K or less, counted "
        "up to M.",
        way(
            """
            best = run = 1 if values else 0
            for one, other in zip(values, values[1:]):
                run = run + 1 if abs(one - other) <= K else 1
                best = max(best, run)
            return min(best, M)
            """,
            ("<= K", "> K"), ("else 1\n", "else 2\n"), ("min(best", "max(best"),
        ),
        way(
            """
            lengths = [1] if values else [0]
            for at in range(1, len(values)):
                close = abs(values[at] - values[at - 1]) <= K
                lengths.append(lengths[-1] + 1 if close else 1)
            return min(max(lengths), M)
            """,
            ("<= K", "> K"), ("if close else 1", "if close else 2"), ("min(max", "max(max"),
        ),
    ),
    Kind(
        "groups", "values", NUMBERS,
        "Deal T cards out to K piles in turn and tell the sums of the piles, each plus M.",
        way(
            """
            piles = [M] * K
            for at, value in enumerate(values):
                piles[at % K] += value
            return piles
            """,
            ("at % K", "-at % K - 1"), ("[M] * K", "[M + 1] * K"), ("+= value", "-= value"),
        ),
        way(
            """
            return [sum(values[start::K]) + M for start in range(K)]
            """,
            ("+ M", "- M"), ("range(K)", "range(1, K)"), ("start::K", "start + 1::K"),
        ),
    ),
    Kind(
        "points", "text", WORDS,
        "Score T entries: a vowel brings K points, a blank costs M points, all else counts one.",
        way(
            """
            score = 0
            for sign in text:
                if sign in 'aeiou':
                    score += K
                elif sign == ' ':
                    score -= M
                else:
                    score += 1
            return score
            """,
            ("score -= M", "score += M"), ("score += K", "score -= K"), ("score = 0", "score = 1"),
        ),
        way(
            """
            value = {' ': -M, **dict.fromkeys('aeiou', K)}
            return sum(value.get(sign, 1) for sign in text)
            """,
            ("-M", "M"), ("fromkeys('aeiou', K)", "fromkeys('aeiou', -K)"),
            ("get(sign, 1)", "get(sign, 2)"),
        ),
    ),
    Kind(
        "ladder", "values", NUMBERS,
        "From each T height climb K steps of size M and list the heights in falling order, none twice.",
        way(
            """
            heights = set()
            for value in values:
                heights.add(value + K * M)
            return sorted(heights, reverse=True)
            """,
            ("K * M", "K + M + 1"), (", reverse=True", ", reverse=False"), ("value + K", "value - K"),
        ),
        way(
            """
            return sorted({value + K * M for value in values}, key=lambda height: -height)
            """,
            ("K * M", "K + M + 1"), ("-height", "+height"), ("value + K", "value - K"),
        ),
    ),
)  # fmt: skip
