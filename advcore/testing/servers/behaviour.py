"""How a mock server behaves: how long it takes, how much it allows, and which share of its answers goes wrong.

Everything is drawn from a seed and the number of the request, so that a run can be repeated; with several requests in
flight at once, which of them gets which number is up to the client.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from advcore import ConfigError

_P99 = 2.3263478740408408  # standard deviations from the median to the 99th percentile


class Refusal(Exception):
    """A request that is answered with an error: HTTP status, OpenAI's error code, message."""

    def __init__(self, status: int, code: str | None, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


REFUSALS = {
    "error": Refusal(500, None, "The server had an error while processing your request."),
    "unauthorized": Refusal(401, "invalid_api_key", "Incorrect API key provided."),
    "no_quota": Refusal(429, "insufficient_quota", "You exceeded your current quota."),
    "content_filter": Refusal(400, "content_filter", "The response was filtered."),
    "context_length": Refusal(400, "context_length_exceeded", "This model's maximum context length is exceeded."),
}  # fmt: skip
"""Faults that are an error message. Code and status as in https://platform.openai.com/docs/guides/error-codes."""

BREAKS = ("reset", "cut", "hang", "truncated")
"""Faults of the wire: a TCP reset instead of an answer, the connection closed in the middle of one, no answer ever,
and a complete HTTP answer that holds the first half of its JSON."""

FAULTS = (*REFUSALS, *BREAKS, "length")
"""`length`: half of the reply, with the finish reason that says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What a mock server does beside answering. Raises ConfigError for what cannot be read."""

    profile: str = "fixed:0"
    """Seconds until an answer: `fixed:S`, `lognormal:MEDIAN,P99`, `per_token:S` (a stream spends it word by word),
    `queue:CAPACITY,S` (at most CAPACITY served at once, the others wait in line). Joined by `+` they add up."""
    faults: Mapping[str, float] = field(default_factory=dict)
    """Share of model calls, of 1, that meets each of `FAULTS`."""
    requests_per_s: float = 0.0
    """Model calls allowed a second, beyond which the answer is 429; 0 is no limit."""
    burst: int = 1
    """Calls that an unused allowance may add up to."""
    retry_after: bool = True
    """429 says when to come again: `retry-after` in whole seconds, `retry-after-ms` exactly."""
    rate_headers: bool = False
    """Answers to model calls carry the provider's headers on what is left of the allowance."""
    batch_s: float = 0.0
    """A batch takes this long; its rows are done one after the other, evenly."""
    seed: int = 0
    """Of everything that is drawn."""

    def __post_init__(self) -> None:
        parse_profile(self.profile)
        if unknown := [name for name in self.faults if name not in FAULTS]:
            raise ConfigError(f"no such fault: {', '.join(unknown)}; there are {', '.join(FAULTS)}")
        if min(self.faults.values(), default=0) < 0 or sum(self.faults.values()) > 1 + 1e-9:
            raise ConfigError("the shares of the faults are between 0 and 1, and so is their sum")
        if self.requests_per_s < 0 or self.burst < 1 or self.batch_s < 0:
            raise ConfigError("requests_per_s and batch_s are not negative, burst is at least 1")

    def fault(self, number: int) -> str:
        """The fault that model call `number` meets; "" for none."""
        if not self.faults:
            return ""
        drawn = random.Random(f"{self.seed} fault {number}").random()
        for name, share in self.faults.items():
            drawn -= share
            if drawn < 0:
                return name
        return ""


@dataclass(frozen=True, slots=True)
class Latency:
    """A parsed profile: the parts in seconds; a `capacity` of 0 is no line to wait in."""

    fixed_s: float = 0.0
    median_s: float = 0.0
    p99_s: float = 0.0
    per_token_s: float = 0.0
    capacity: int = 0

    def seconds(self, seed: int, number: int) -> float:
        """Time that model call `number` takes, apart from its tokens and its place in the line."""
        if not self.median_s:
            return self.fixed_s
        normal = random.Random(f"{seed} latency {number}").gauss(0, 1)
        return self.fixed_s + self.median_s * math.exp(normal * math.log(self.p99_s / self.median_s) / _P99)


def parse_profile(text: str) -> Latency:
    """`Behaviour.profile` as numbers. Raises ConfigError."""
    latency = Latency()
    for part in text.split("+"):
        name, _, rest = part.partition(":")
        try:
            numbers = [float(number) for number in rest.split(",")]
            if not all(0 <= number < math.inf for number in numbers):
                raise ValueError
            match name, numbers:
                case "fixed", [seconds]:
                    latency = replace(latency, fixed_s=latency.fixed_s + seconds)
                case "lognormal", [median, p99] if 0 < median <= p99:
                    latency = replace(latency, median_s=median, p99_s=p99)
                case "per_token", [seconds]:
                    latency = replace(latency, per_token_s=seconds)
                case "queue", [capacity, seconds] if capacity >= 1 and capacity == int(capacity):
                    latency = replace(latency, capacity=int(capacity), fixed_s=latency.fixed_s + seconds)
                case _:
                    raise ValueError
        except ValueError:
            raise ConfigError(
                f"cannot read the profile {part!r}; fixed:S, lognormal:MEDIAN,P99, per_token:S, queue:CAPACITY,S"
            ) from None
    return latency


class Allowance:
    """A token bucket: `rate` calls a second on average, `burst` at once; it starts full. A rate of 0 allows all."""

    def __init__(self, rate: float, burst: int) -> None:
        self.rate, self.burst = rate, burst
        self._level, self._at = float(burst), time.monotonic()

    def take(self) -> float:
        """Take one call out; 0 when it was there, otherwise seconds until one will be."""
        if not self.rate:
            return 0.0
        self._refill()
        if self._level < 1:
            return (1 - self._level) / self.rate
        self._level -= 1
        return 0.0

    def state(self) -> tuple[int, float]:
        """Calls that are left now, and seconds until the bucket is full again."""
        if not self.rate:
            return self.burst, 0.0
        self._refill()
        return int(self._level), (self.burst - self._level) / self.rate

    def _refill(self) -> None:
        now = time.monotonic()
        self._level, self._at = min(self.burst, self._level + (now - self._at) * self.rate), now
