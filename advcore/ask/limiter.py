"""Admission of requests to one model endpoint: how many at once, how fast, and how many tokens a minute.

What an endpoint allows is mostly unknown and changes, so it is learned from replies: the concurrency limit grows until
a 429 or until more requests only wait longer; the first 429 also teaches a rate, because no concurrency limit can hold
an allowance of requests a second. Budgets that the caller knows are kept as token buckets. It sends nothing, retries
nothing and knows no protocol: the caller asks for a permit, sends, and releases the permit with what came of it.

One event loop, no threads, no polling: a waiter is a future in a queue, a released permit admits the next one, and a
timer runs only while time alone blocks the head of the queue. Of n that wait, one costs O(log n).
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import random
from collections import deque
from typing import Any, Literal

Feedback = Literal["ok", "rate", "overload", "failed"]
"""ok; rate: 429; overload: 5xx, timeout or connection; failed: refused for its own content, or never sent."""

START = 6.0  # concurrency before anything is known
CUT = 0.85  # what a burst of 429s leaves of the limit that it met
USED = 0.75  # share of the limit in flight from which latencies tell something about the limit
HOLD = 10  # replies after an overload that do not raise the limit
PAUSE_S = (0.1, 20.0)  # after a 429 without Retry-After: the first pause, and the longest
INSTANT_S = 1e-6  # a wait shorter than the clock can tell is none


class LimiterStopped(RuntimeError):
    """The limiter was stopped; nothing further is admitted."""


class Permit:
    """The right to have one request in flight, held until it is released."""

    __slots__ = ("_limiter", "_number", "_tokens")

    def __init__(self, limiter: RateLimiter, number: int, tokens: int) -> None:
        self._limiter: RateLimiter | None = limiter
        self._number, self._tokens = number, tokens

    def release(
        self,
        outcome: Feedback,
        *,
        tokens: int | None = None,
        latency_s: float = 0.0,
        completion_tokens: int = 0,
        retry_after_s: float | None = None,
    ) -> None:
        """Free the slot and report what came of the request; once, also from the `finally` of a cancelled task.

        `tokens` is the real usage, prompt and completion; without it the reservation stands. A latency of 0 is no
        measurement.

        Raises RuntimeError when the permit was released before.
        """
        limiter, self._limiter = self._limiter, None
        if limiter is None:
            raise RuntimeError("a permit can be released only once")
        now = _now()
        limiter._free_slot(now, 0 if tokens is None else tokens - self._tokens)
        if outcome == "rate":
            limiter._throttle(now, self._number, retry_after_s)
        elif outcome == "overload":
            limiter._hold_growth()
            limiter._pause(now, retry_after_s or 0.0)
        elif outcome == "ok" and not limiter._fixed:
            limiter._reward(now, self._number, latency_s, completion_tokens)
        limiter._admit_waiting()


class RateLimiter:
    """The admissions of one endpoint. `ceiling` bounds the concurrency; a budget of 0 is none. With `fixed` the ceiling
    is right as it is (an engine in this process, which queues for itself): nothing is learned.
    """

    def __init__(
        self,
        *,
        ceiling: int,
        requests_per_minute: float = 0,
        tokens_per_minute: float = 0,
        fixed: bool = False,
    ) -> None:
        self.in_flight = self.waiting = self.throttled = 0
        self._ceiling = ceiling
        self._fixed = fixed
        self._limit = float(ceiling) if fixed else min(START, ceiling)
        self._peak = (
            0.0  # the concurrency that was too much; 0 while unknown, which makes growth a slow start
        )
        self._requests = _Bucket(requests_per_minute / 60, burst_s=1.0)
        self._tokens = _Bucket(tokens_per_minute / 60, burst_s=1.0)
        self._pace = _Pace()
        self._queueing = _Queueing()
        self._resume_at, self._pause_s = -math.inf, PAUSE_S[0]
        self._sent = 0  # number of the last permit
        self._cut_at = 0  # number of the last permit given before the last cut
        self._held = 0  # replies that will not raise the limit
        self._binds = False  # whether the limit alone kept requests back when the last one came home
        self._queue: list[
            tuple[int, int, asyncio.Future[Permit], int]
        ] = []  # a heap: priority, arrival, turn, tokens
        self._arrivals = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        self._history: deque[tuple[float, float, str]] = deque(maxlen=200)

    @property
    def limit(self) -> float:
        """How many requests may be in flight; its whole part counts."""
        return self._limit

    async def admit(self, tokens: int, priority: int = 0) -> Permit:
        """Wait for a turn: the lowest `priority` first, and of one priority who came first. `tokens` is reserved: the
        prompt and the most that may come back.

        Raises LimiterStopped.
        """
        if self._stopped:
            raise LimiterStopped
        turn: asyncio.Future[Permit] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (priority, next(self._arrivals), turn, tokens))
        self.waiting += 1
        if self.waiting == 1:  # behind others there is nothing to look at
            self._admit_waiting()
        try:
            return await turn
        except asyncio.CancelledError:
            self._forgo(turn)
            raise

    def stop(self) -> None:
        """Admit nothing further: all that wait raise LimiterStopped. What is in flight may still be released."""
        self._stopped = True
        while self._queue:
            turn = self._queue.pop()[2]
            if not turn.done():
                self.waiting -= 1
                turn.set_exception(LimiterStopped())
        self._wake_in(0)

    def describe(self) -> dict[str, Any]:
        """State for progress lines and run logs. `rate` is requests a second, None while none is learned."""
        return {
            "limit": round(self._limit, 1),
            "in_flight": self.in_flight,
            "waiting": self.waiting,
            "throttled": self.throttled,
            "rate": round(self._pace.learned, 2) if self._pace.learned else None,
            "history": list(self._history),
        }

    def _admit_waiting(self) -> None:
        now = _now()
        while self._queue and self.in_flight + 1 <= self._limit:
            _, _, turn, tokens = self._queue[0]
            if not turn.done():  # else its task was cancelled
                if (delay := self._delay(now, tokens)) > INSTANT_S:
                    return self._wake_in(delay)
                self.waiting -= 1
                turn.set_result(self._permit(now, tokens))
            heapq.heappop(self._queue)
        self._wake_in(0)

    def _permit(self, now: float, tokens: int) -> Permit:
        self._requests.take(now, 1)
        self._tokens.take(now, tokens)
        if not self._fixed:
            self._pace.admit(now)
        self.in_flight += 1
        self._sent += 1
        return Permit(self, self._sent, tokens)

    def _delay(self, now: float, tokens: int) -> float:
        pace = 0.0 if self._fixed else self._pace.wait(now, 1)
        return max(self._budget_delay(now, tokens), pace)

    def _budget_delay(self, now: float, tokens: int) -> float:
        return max(self._resume_at - now, self._requests.wait(now, 1), self._tokens.wait(now, tokens))

    def _wake_in(self, delay: float) -> None:
        """Look at the queue again after `delay` seconds; 0: not before something happens."""
        if self._timer:
            self._timer.cancel()
        loop = asyncio.get_running_loop() if delay else None
        self._timer = loop.call_later(delay, self._admit_waiting) if loop else None

    def _forgo(self, turn: asyncio.Future[Permit]) -> None:
        if turn.cancelled():
            self.waiting -= 1
            self._admit_waiting()  # the next may need fewer tokens
        elif not turn.exception():  # admitted, then cancelled before it ran
            turn.result().release("failed", tokens=0)

    def _free_slot(self, now: float, more_tokens: int) -> None:
        self._binds = self._limit_binds(now)
        self.in_flight -= 1
        self._tokens.take(now, more_tokens)

    def _limit_binds(self, now: float) -> bool:
        """Whether the limit is used up with nothing else in the way; else a reply tells nothing about it."""
        if self._pace.learned:
            return self.in_flight + 1 > self._limit and self._delay(now, 0) <= INSTANT_S
        # Before a rate is learned the pace only smooths, so what it holds back for a moment is held back by the limit.
        used = self.in_flight + 1 > USED * self._limit
        return used and self.waiting > 0 and self._budget_delay(now, 0) <= INSTANT_S

    def _hold_growth(self) -> None:
        self._held = min(self._held + HOLD, math.ceil(self._limit))

    def _reward(self, now: float, number: int, latency_s: float, completion_tokens: int) -> None:
        if number > self._cut_at:
            self._pause_s = PAUSE_S[0]
        if self.in_flight + 1 < math.floor(USED * self._limit):
            return self._queueing.restart(now)
        if limit := self._queueing.sample(now, self._limit, latency_s, completion_tokens):
            self._peak = limit
            self._move(now, limit, "queueing")
        elif self._held:
            self._held -= 1
        elif self._binds:
            gap = abs(self._limit - self._peak) / 2
            a_round = max(1.0, gap) if self._peak else self._limit
            self._move(now, self._limit + a_round / self._limit, "growth")

    def _throttle(self, now: float, number: int, retry_after_s: float | None) -> None:
        self.throttled += 1
        self._pace.refuse()
        if number > self._cut_at:
            self._cut(now)
            if retry_after_s is None:
                self._pause(now, self._pause_s)
                self._pause_s = min(2 * self._pause_s, PAUSE_S[1])
        self._pause(now, retry_after_s or 0.0)

    def _cut(self, now: float) -> None:
        self._cut_at = self._sent
        met, first = self.in_flight + 1, not self._pace.learned
        if self._pace.cut(now):
            return self._move(now, self._limit, "429, rate")
        self._peak = 0.0 if first else met
        self._move(now, min(self._limit, max(met, self._limit / 2) * CUT), "429")

    def _pause(self, now: float, seconds: float) -> None:
        until = now + seconds * random.uniform(1.0, 1.05)
        if until > max(now, self._resume_at):
            self._pace.leave_out(until - max(now, self._resume_at))
            self._resume_at = until

    def _move(self, now: float, limit: float, why: str) -> None:
        self._limit = min(max(limit, 1.0), float(self._ceiling))
        logged = self._history[-1][1] if self._history else START
        if why != "growth" or self._limit >= 1.25 * logged:
            self._history.append((now, round(self._limit, 1), why))


class _Bucket:
    """A token bucket of `rate` a second that holds `burst_s` seconds' worth and one more; a rate of 0 never blocks.

    It may be in debt: what is larger than the bucket waits until it is full, and what comes after pays.
    """

    def __init__(self, rate: float, burst_s: float) -> None:
        self.rate, self._burst_s = rate, burst_s
        self._level, self._at = self.capacity, -math.inf

    @property
    def capacity(self) -> float:
        return 1 + self.rate * self._burst_s

    def level(self, now: float) -> float:
        if self.rate:
            self._level = min(self.capacity, self._level + (now - self._at) * self.rate)
            self._at = now
        return self._level

    def wait(self, now: float, amount: float) -> float:
        """Seconds until `amount` may be taken."""
        return (min(amount, self.capacity) - self.level(now)) / self.rate if self.rate else 0.0

    def take(self, now: float, amount: float) -> None:
        """Take `amount`, or give it back when negative."""
        self._level = self.level(now) - amount


class _Pace(_Bucket):
    """The rate of admissions: learned after the first 429, and always smooth, so that no bunch is taken for a rate.

    A cut sets `learned` just below what the server took; from there it follows a cubic of the time for which requests
    were sent at that rate: flat around the rate that was too much, and steep long after it, so that an allowance that
    has grown is found. The flat part doubles with every cut near that rate, and is short after one far from it. Source:
    CUBIC's window, RFC 9438 section 4.2, with a rate in its place.
    """

    CUT, CONVERGE, NEAR = 0.05, 0.975, 1.25
    PLATEAU_S = (2.0, 12.0)
    EARLY_S = 0.5  # a cut that comes this soon after another halves
    SENT = 0.75  # share of the learned rate from which requests count as sent at it
    SMOOTH, SMOOTH_UNLEARNED, LEAST = 1.4, 5.0, 10.0  # times what the server took lately; and a second
    FORGET_S = 30.0

    def __init__(self) -> None:
        super().__init__(0.0, burst_s=0.04)
        self.learned = 0.0
        self._peak = self._age_s = self._slack_s = 0.0
        self._plateau_s, self._cut_at = self.PLATEAU_S[0], -math.inf
        self._taken = self._taken_at_cut = 0
        self._marks: deque[tuple[float, int]] = deque(maxlen=3)  # time, and how many were taken before it

    def admit(self, now: float) -> None:
        """Count one request, which the server takes unless `refuse` says otherwise, and move the rate."""
        if not self._marks or (now - self._marks[-1][0] >= 0.5 and self._taken - self._marks[-1][1] >= 8):
            self._marks.append((now, self._taken))
        self._taken += 1
        self.take(now, 1)
        taken = self._taken_rate(now)
        if self.learned:
            self._follow(taken)
        if self.learned:
            self.rate = min(max(taken * self.SMOOTH, self.learned / 2), self.learned)
        else:
            self.rate = max(taken * self.SMOOTH_UNLEARNED, self.LEAST)

    def refuse(self) -> None:
        """One of those counted was answered 429."""
        self._taken -= 1

    def cut(self, now: float) -> bool:
        """Learn or lower the rate; tells whether a rate explains the 429: requests were sent at the learned one."""
        if self._taken <= self._taken_at_cut:  # nothing was taken since: an outage teaches no rate
            return False
        taken, sent = self._taken_rate(now), False
        if not self.learned:
            self._peak = max(taken, 1 / 60)
        elif now - self._cut_at < self.EARLY_S:
            self._peak = self.learned / 2
        else:
            sent = taken > self.SENT * self.learned
            near = self.learned < self.NEAR * self._peak
            self._plateau_s = min(2 * self._plateau_s, self.PLATEAU_S[1]) if near else self.PLATEAU_S[0]
            self._peak = self.CONVERGE * (min(taken, self.learned) if sent else self.learned)
        self._age_s = self._slack_s = 0.0
        self.rate = self.learned = self._peak * (1 - self.CUT)
        self._level, self._at = 0.0, now
        self._cut_at, self._taken_at_cut = now, self._taken
        return sent

    def leave_out(self, seconds: float) -> None:
        """A pause begins: its time does not count, and earns nothing."""
        self._cut_at += seconds
        self._level -= seconds * self.rate
        self._marks = deque(((at + seconds, taken) for at, taken in self._marks), maxlen=3)

    def _taken_rate(self, now: float) -> float:
        """Requests a second that the server took lately: over 1 to 1.5 s, longer where they are few."""
        since, taken = self._marks[0]
        return (self._taken - taken) / max(now - since, 0.1)

    def _follow(self, taken: float) -> None:
        if taken > self.SENT * self.learned:
            self._age_s, self._slack_s = self._age_s + 1 / self.rate, 0.0
            self.learned = self._peak * (1 + self.CUT * (self._age_s / self._plateau_s - 1) ** 3)
        else:
            self._slack_s += 1 / self.rate
            if self._slack_s > self.FORGET_S:  # it no longer holds anything back
                self.learned = 0.0


_Seconds = tuple[float, float]
"""That a reply took, and that a unit of its work took; geometric means of a round."""


class _Queueing:
    """Tells from replies whether a server makes requests wait instead of refusing them, as vLLM does.

    Looks at one round of replies at a time: the work done a second, and the seconds a unit of work took. The best round
    seen is the reference. If latency grows without a matching gain in throughput, requests are queueing: the limit
    is reduced to the estimated useful concurrency (Little's law) plus 25 %. If that costs throughput, the replies had
    become slow by themselves: the limit is restored and the slow round becomes the reference. Sources: TCP Vegas,
    Netflix Gradient2, Kleinrock's power.
    """

    SAMPLES, SLOW, HEADROOM = 16, 1.5, 1.25
    FIXED = 30  # what a reply costs beside its tokens, in tokens: prompt, network

    def __init__(self) -> None:
        self._reference: tuple[float, _Seconds] | None = None
        self._doubted: tuple[float, _Seconds, float, float] | None = None  # speed, seconds, limit, new limit
        self.restart(0.0)

    def restart(self, now: float, skip: int = 0) -> None:
        """Begin a round after `skip` more replies."""
        self._since, self._skip = now, skip
        self._count, self._work, self._round = 0, 0.0, 0.0
        self._log_seconds = self._log_work = 0.0

    def sample(self, now: float, limit: float, latency_s: float, completion_tokens: int) -> float | None:
        """Take one reply; gives another limit when a round ends that calls for one."""
        if latency_s <= 0:
            return None
        if self._skip:
            self.restart(now, self._skip - 1)
            return None
        if not self._count:
            self._round = max(self.SAMPLES, limit)
        work = self.FIXED + completion_tokens
        self._count += 1
        self._work += work
        self._log_seconds += math.log(latency_s)
        self._log_work += math.log(work)
        if self._count < self._round or now <= self._since:
            return None
        a_reply = self._log_seconds / self._count
        seconds = math.exp(a_reply), math.exp(a_reply - self._log_work / self._count)
        changed = self._compare(self._work / (now - self._since), seconds, limit)
        self.restart(now, skip=math.ceil(limit) if changed else 0)
        return changed

    def _compare(self, speed: float, seconds: _Seconds, limit: float) -> float | None:
        if self._doubted:
            before, slow, old, new = self._doubted
            self._doubted = None
            if speed < before * (1 + 3 * new / old) / 4:
                self._reference = before, slow
                return old
        best, quick = self._reference or (speed, seconds)
        # Of some servers the time of a reply hangs on its length, of others not: what is slower by both is slower.
        gain, slower = speed / best, min(now / then for now, then in zip(seconds, quick, strict=True))
        if gain >= max(1.0, slower):
            self._reference = speed, seconds
        if slower <= self.SLOW * max(1.0, gain):
            return None
        new = max(1.0, limit / slower * self.HEADROOM)
        self._doubted = speed, seconds, limit, new
        return new


def _now() -> float:
    return asyncio.get_running_loop().time()
