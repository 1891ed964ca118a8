"""Lengths: of chosen by rejected, and in tokens against what a trainer will cut. Held: two numbers a pair."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from advcore import DataError, hub
from advgen.audit.report import Finding
from advgen.hygiene.pairs import PreferencePair

_FAR = 3.0  # a side this many times longer than the other can be told by its length alone
_CHARS_PER_TOKEN = 4  # of code under common vocabularies


class LengthRatios:
    """The check: percentiles of chosen by rejected in characters; a warning for rows beyond a factor of 3."""

    def __init__(self) -> None:
        self._ratios = array("d")

    def add(self, pair: PreferencePair) -> None:
        """An empty side counts as one character."""
        self._ratios.append(max(1, len(pair.chosen.text)) / max(1, len(pair.rejected.text)))

    def findings(self) -> Iterator[Finding]:
        """One."""
        far = array("q", (row for row, ratio in enumerate(self._ratios) if not 1 / _FAR <= ratio <= _FAR))
        p5, p50, p95 = (percentile(self._ratios, at) for at in (5, 50, 95))
        yield Finding(
            check="length_ratio",
            severity="warning" if far else "info",
            summary=(
                f"chosen is {p50:.2f} times as long as rejected at the median ({p5:.2f} to {p95:.2f}, 5 % to 95 %); "
                f"{len(far)} rows beyond a factor of {_FAR:g}"
            ),
            rows=far,
            number=p50,
            measures={"p5": p5, "p50": p50, "p95": p95},
        )


class TokenLengths:
    """The check: a warning for rows whose prompt and longer side together have more than `most` tokens.

    The trainer cuts such a row, and with its end often what makes the sides differ. What a chat template adds, about
    ten tokens, is not counted. `tokenizer` is a Hub id or a folder with a tokenizer.json; without it tokens are
    estimated.
    """

    def __init__(self, most: int, tokenizer: str) -> None:
        self._most, self._count = most, _counter(tokenizer)
        self._by = f"by {tokenizer}" if tokenizer else f"estimated as characters / {_CHARS_PER_TOKEN}"
        self._lengths = array("I")

    def add(self, pair: PreferencePair) -> None:
        """Count prompt and both sides."""
        sides = max(self._count(pair.chosen.text), self._count(pair.rejected.text))
        self._lengths.append(self._count(pair.system) + self._count(pair.prompt) + sides)

    def findings(self) -> Iterator[Finding]:
        """One."""
        over = array("q", (row for row, length in enumerate(self._lengths) if length > self._most))
        p50, p95 = (percentile(self._lengths, at) for at in (50, 95))
        yield Finding(
            check="token_length",
            severity="warning" if over else "info",
            summary=(
                f"{len(over)} rows have over {self._most} tokens and will be cut; median {p50:.0f}, "
                f"95 % below {p95:.0f}, most {max(self._lengths)} ({self._by})"
            ),
            rows=over,
            number=len(over) / len(self._lengths),
            measures={"p50": p50, "p95": p95, "most": max(self._lengths)},
        )


def percentile(values: Sequence[float], at: int) -> float:
    """The smallest value that at least `at` percent of `values` do not exceed (nearest rank)."""
    import numpy as np

    rank = max(0, -(-at * len(values) // 100) - 1)
    value: float = np.partition(values, rank)[rank].item()
    return value


def _counter(tokenizer: str) -> Callable[[str], int]:
    """Text -> number of tokens. Raises DataError where there is no such tokenizer."""
    if not tokenizer:
        return lambda text: -(-len(text) // _CHARS_PER_TOKEN)
    from tokenizers import Tokenizer

    file = Path(tokenizer) / "tokenizer.json"
    if not Path(tokenizer).is_dir() and not hub.is_hub_id(tokenizer):
        raise DataError(f"tokenizer {tokenizer} is neither a folder nor a Hub id")
    repo, _, revision = tokenizer.partition("@")
    try:
        loaded = (
            Tokenizer.from_file(str(file))
            if Path(tokenizer).is_dir()
            else Tokenizer.from_pretrained(repo, revision=revision or "main")
        )
    except Exception as error:  # the library raises no narrower type; raised again
        raise DataError(f"tokenizer {tokenizer}: {str(error).splitlines()[0]}") from None
    return lambda text: len(loaded.encode(text, add_special_tokens=False).ids)
