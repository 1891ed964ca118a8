"""Admission against simulated servers, on an event loop whose clock jumps from timer to timer: minutes take no time."""

import asyncio
import random
import selectors
import sys
from itertools import pairwise

import pytest

from advcore.ask import LimiterStopped
from advcore.ask import limiter as module
from advcore.ask.limiter import RateLimiter


class Skipping(selectors.DefaultSelector):
    """Instead of waiting, moves the clock."""

    now = 0.0

    def select(self, timeout=None):
        self.now += timeout or 0.0
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time passes only while nothing can run; `callbacks` counts what was scheduled."""

    def __init__(self):
        self.clock, self.callbacks = Skipping(), 0
        super().__init__(self.clock)

    def time(self):
        return self.clock.now

    def call_soon(self, *args, **values):
        self.callbacks += 1
        return super().call_soon(*args, **values)

    def call_at(self, *args, **values):
        self.callbacks += 1
        return super().call_at(*args, **values)


def run(coroutine, seed=0):
    random.seed(seed)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)


def now():
    return asyncio.get_running_loop().time()


class Allowance:
    """Takes `rate` requests a second, `burst` at once; answers the others 429 after 30 ms."""

    def __init__(self, rate, burst, latency_s, retry_after_s=None):
        self.rate, self.burst, self.latency_s, self.retry_after_s = rate, burst, latency_s, retry_after_s
        self.level, self.at, self.log = burst, 0.0, []

    async def __call__(self):
        self.level = min(self.burst, self.level + (now() - self.at) * self.rate)
        self.at, taken = now(), self.level >= 1
        self.level -= taken
        self.log.append((now(), taken))
        await asyncio.sleep(self.latency_s * random.lognormvariate(0, 0.5) if taken else 0.03)
        return "ok" if taken else "rate", 0

    def used(self, start, end):
        return sum(taken for at, taken in self.log if start <= at < end) / (self.rate * (end - start))

    def refused(self):
        return sum(not taken for _, taken in self.log) / len(self.log)


class Queueing:
    """Works on `places` sequences at a time and lets the others wait, like vLLM: never a 429."""

    retry_after_s = None

    def __init__(self, places, tokens):
        self.places, self.tokens, self.free, self.busy, self.log = (
            places,
            tokens,
            asyncio.Semaphore(places),
            0,
            [],
        )

    async def __call__(self):
        async with self.free:
            tokens = self.tokens()
            work_s = (0.2 + 0.01 * tokens) * random.lognormvariate(0, 0.3)
            self.log.append((now(), work_s))
            await asyncio.sleep(work_s)
        return "ok", tokens

    def used(self, start, end):
        return sum(work_s for at, work_s in self.log if start <= at < end) / (self.places * (end - start))


async def ask_on(limiter, server, tokens=100):
    while True:
        permit = await limiter.admit(tokens)
        sent, outcome, length = now(), "failed", 0
        try:
            outcome, length = await server()
        finally:
            retry_after_s = server.retry_after_s if outcome == "rate" else None
            permit.release(
                outcome, latency_s=now() - sent, completion_tokens=length, retry_after_s=retry_after_s
            )


async def load(limiter, server, seconds, clients=400, watch=lambda: None):
    tasks = [asyncio.create_task(ask_on(limiter, server)) for _ in range(clients)]
    for _ in range(seconds):
        await asyncio.sleep(1)
        watch()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def admitted(limiter, count, tokens=100):
    return [await limiter.admit(tokens) for _ in range(count)]


async def grown(limiter, to):
    """As many permits as the limit allows, once a load has brought it to `to`."""
    tasks = [asyncio.create_task(ask_on(limiter, Meter())) for _ in range(2 * to)]
    while limiter.limit < to:
        await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return await admitted(limiter, int(limiter.limit))


@pytest.mark.parametrize("retry_after_s", [None, 1.0])
@pytest.mark.parametrize("burst", [5, 10])
@pytest.mark.parametrize("latency_s", [0.05, 0.5, 2.0])
def test_an_allowance_of_requests_a_second_is_found_and_held_with_few_429s(latency_s, burst, retry_after_s):
    server, limiter = Allowance(50, burst, latency_s, retry_after_s), RateLimiter(ceiling=256)
    run(load(limiter, server, 60))
    assert server.used(10, 60) >= 0.9
    assert server.refused() <= 0.02
    assert limiter.describe()["rate"] == pytest.approx(50, rel=0.12)


def test_an_allowance_that_grows_fourfold_is_followed_within_a_minute():
    server, limiter = Allowance(50, 10, 0.5), RateLimiter(ceiling=256)

    async def recovery():
        asyncio.get_running_loop().call_later(30, setattr, server, "rate", 200)
        await load(limiter, server, 100)

    run(recovery())
    assert server.used(85, 90) >= 0.7
    assert server.refused() <= 0.02


@pytest.mark.parametrize("tokens", [lambda: 100, lambda: random.randint(10, 400)], ids=["equal", "mixed"])
def test_a_server_that_queues_is_kept_full_without_a_long_queue(tokens):
    limiter, limits = RateLimiter(ceiling=512), []

    async def measured():
        server = Queueing(32, tokens)
        await load(limiter, server, 180, clients=700, watch=lambda: limits.append(limiter.limit))
        return server.used(20, 170)

    assert run(measured()) >= 0.95
    steady = limits[90:]
    assert 24 <= min(steady) <= max(steady) <= 96
    assert limiter.throttled == 0


def test_short_replies_after_long_ones_are_not_taken_for_a_queue():
    """Of a server that takes as long for a statement as for a solution, a round of statements costs more a token."""
    limiter, flying = RateLimiter(ceiling=64), []

    async def server():
        length = 300 if now() % 40 < 20 else 20
        await asyncio.sleep(1.0)
        return "ok", length

    server.retry_after_s = None
    run(load(limiter, server, 200, watch=lambda: flying.append(limiter.in_flight)))
    assert "queueing" not in {why for _, _, why in limiter.describe()["history"]}
    assert min(flying[20:]) >= 60


def test_longer_replies_are_not_taken_for_a_queue():
    limiter = RateLimiter(ceiling=64)

    async def phases():
        server = Queueing(64, lambda: 400 if now() > 60 else 40)
        await load(limiter, server, 160, clients=100)
        return server.used(80, 150)

    assert run(phases()) >= 0.95


def test_a_server_that_gets_slower_by_itself_keeps_its_concurrency():
    limiter, limits = RateLimiter(ceiling=64), []

    class Slower(Queueing):
        async def __call__(self):
            await asyncio.sleep(3.0 if now() > 60 else 1.0)
            return "ok", 0

    async def slower():
        await load(limiter, Slower(64, int), 200, clients=100, watch=lambda: limits.append(limiter.limit))

    run(slower())
    assert min(limits[100:]) >= 32
    assert sum(limits[-60:]) / 60 >= 60


class Meter:
    """Always replies at once, and knows the most that was sent in any minute."""

    retry_after_s = None

    def __init__(self):
        self.log = []

    async def __call__(self):
        self.log.append(now())
        await asyncio.sleep(0.5)
        return "ok", 0

    def most_in_a_minute(self):
        most, first = 0, 0
        for last, at in enumerate(self.log):
            while self.log[first] <= at - 60:
                first += 1
            most = max(most, last - first + 1)
        return most


def test_a_budget_of_requests_is_used_and_no_minute_exceeds_it_by_more_than_a_second():
    limiter, server = RateLimiter(ceiling=256, requests_per_minute=600), Meter()
    run(load(limiter, server, 200))
    assert server.most_in_a_minute() <= 600 + 11
    assert len([at for at in server.log if 20 <= at < 200]) >= 0.95 * 1800


@pytest.mark.parametrize("used", [40, 100, 130])
def test_a_budget_of_tokens_counts_real_usage_and_not_the_reservation(used):
    limiter, sent = RateLimiter(ceiling=256, tokens_per_minute=60_000), []

    async def client():
        while True:
            permit = await limiter.admit(100)
            sent.append(now())
            await asyncio.sleep(0.5)
            permit.release("ok", tokens=used, latency_s=0.5)

    async def minutes():
        tasks = [asyncio.create_task(client()) for _ in range(200)]
        await asyncio.sleep(200)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(minutes())
    meter = Meter()
    meter.log = sent
    on_the_way = 100 * abs(used - 100)  # up to a hundred requests in flight are counted by their reservation
    assert used * meter.most_in_a_minute() <= 60_000 + 1_001 + max(used, 100) + on_the_way
    assert used * len([at for at in sent if 20 <= at < 200]) >= 0.95 * 180_000


def test_a_request_larger_than_a_second_of_the_budget_is_admitted_and_the_next_pays():
    async def large():
        limiter = RateLimiter(ceiling=8, tokens_per_minute=6_000)
        await limiter.admit(1_000)
        await limiter.admit(50)
        return now()

    assert run(large()) == pytest.approx((1_000 - 101 + 50) / 100, abs=0.1)


def test_a_burst_of_64_429s_cuts_once():
    async def burst():
        limiter = RateLimiter(ceiling=64)
        permits = await grown(limiter, 64)
        for permit in permits:
            permit.release("rate")
        return limiter

    limiter = run(burst())
    assert limiter.limit == pytest.approx(64 * module.CUT)
    assert limiter.throttled == 64
    assert [why for _, _, why in limiter.describe()["history"]].count("429") == 1


def test_a_429_to_a_request_sent_after_the_cut_cuts_again():
    async def bursts():
        limiter = RateLimiter(ceiling=64)
        for permit in await grown(limiter, 64):
            permit.release("rate")
        first = limiter.limit
        (await limiter.admit(1)).release("rate")
        return first, limiter.limit, limiter.describe()["rate"]

    first, second, _ = run(bursts())
    assert second < first


def test_retry_after_holds_back_every_waiter_and_the_longest_counts():
    async def pause():
        limiter = RateLimiter(ceiling=64)
        permits = await admitted(limiter, 4)
        waiters = [asyncio.create_task(limiter.admit(1)) for _ in range(20)]
        start = now()
        for permit, seconds in zip(permits, (5.0, 9.0, None, 1.0), strict=True):
            permit.release("rate", retry_after_s=seconds)
        times = []
        for waiter in asyncio.as_completed(waiters):
            (await waiter).release("ok")
            times.append(now() - start)
        return times

    times = run(pause())
    assert len(times) == 20
    assert 9.0 <= min(times) <= 9.0 * 1.05 + 0.1


def test_pauses_without_retry_after_grow_until_something_is_accepted():
    async def outage():
        limiter, starts = RateLimiter(ceiling=4), []
        for _ in range(7):
            permit = await limiter.admit(1)
            starts.append(now())
            permit.release("rate")
        return [later - earlier for earlier, later in pairwise(starts)]

    waits = run(outage())
    assert waits == pytest.approx([0.1 * 2**count for count in range(6)], rel=0.07)


def test_overload_stops_growth_for_a_while_and_does_not_cut():
    async def overload():
        limiter, server = RateLimiter(ceiling=64), Meter()
        permits, before = await grown(limiter, 16), limiter.limit
        for permit in permits:
            permit.release("overload")
        limits = [limiter.limit]
        tasks = [asyncio.create_task(ask_on(limiter, server)) for _ in range(100)]
        for _ in range(6):
            await asyncio.sleep(0.6)
            limits.append(limiter.limit)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return before, limits

    before, limits = run(overload())
    assert limits[0] == limits[1] == before
    assert limits[-1] >= 2 * before


def test_overload_alone_never_moves_the_limit():
    async def down():
        limiter = RateLimiter(ceiling=64)
        for _ in range(50):
            for permit in await admitted(limiter, int(limiter.limit)):
                permit.release("overload")
        return limiter.limit

    assert run(down()) == module.START


@pytest.mark.parametrize("others", [0, 4])
def test_a_limit_that_is_not_used_does_not_grow(others):
    async def few():
        limiter = RateLimiter(ceiling=64)
        await admitted(limiter, others)
        for _ in range(200):
            (await limiter.admit(1)).release("ok", latency_s=1.0)
        return limiter.limit

    assert run(few()) == module.START


def test_slow_start_reaches_a_limit_of_128_in_ten_rounds():
    limiter = RateLimiter(ceiling=128)
    run(load(limiter, Meter(), 5))  # a round is half a second
    assert limiter.limit == 128


def cost(clients, cycles):
    """Loop callbacks, and calls inside limiter.py, of one request."""
    calls = 0

    def count(frame, event, _):
        nonlocal calls
        calls += event == "call" and frame.f_code.co_filename == module.__file__

    async def cycle():
        limiter, left = RateLimiter(ceiling=32), cycles

        async def client():
            nonlocal left
            while left > 0:
                left -= 1
                permit = await limiter.admit(1)
                await asyncio.sleep(0.1)
                permit.release("ok", latency_s=0.1)

        sys.setprofile(count)
        try:
            await asyncio.gather(*(client() for _ in range(clients)))
        finally:
            sys.setprofile(None)
        assert (limiter.in_flight, limiter.waiting) == (0, 0)
        return asyncio.get_running_loop().callbacks / cycles

    return run(cycle()), calls / cycles


def test_a_request_costs_the_same_whether_forty_wait_or_two_thousand():
    callbacks, calls = cost(2_000, 20_000)
    _, calls_of_few = cost(40, 4_000)
    assert callbacks <= 8
    assert calls <= 60
    assert calls <= 1.2 * calls_of_few


def test_waiting_is_not_polled():
    async def idle():
        limiter = RateLimiter(ceiling=1)
        held = await limiter.admit(1)
        waiters = [asyncio.create_task(limiter.admit(1)) for _ in range(1_000)]
        await asyncio.sleep(1)
        before = asyncio.get_running_loop().callbacks
        await asyncio.sleep(3_600)
        during = asyncio.get_running_loop().callbacks - before
        held.release("ok")
        for waiter in waiters:
            waiter.cancel()
        await asyncio.gather(*waiters, return_exceptions=True)
        return during

    assert run(idle()) <= 3


def test_what_has_the_lower_priority_number_goes_first_and_equals_in_the_order_of_arrival():
    async def order():
        limiter, served = RateLimiter(ceiling=1, fixed=True), []

        async def one(name, priority):
            permit = await limiter.admit(1, priority)
            served.append(name)
            await asyncio.sleep(1)
            permit.release("ok")

        wanted = [("running", 9), ("c1", 3), ("a", 1), ("c2", 3), ("b", 2)]
        await asyncio.gather(*(one(*each) for each in wanted))
        return served

    assert run(order()) == ["running", "a", "b", "c1", "c2"]


def test_a_failure_that_names_a_time_pauses_and_cuts_nothing():
    async def trouble():
        limiter = RateLimiter(ceiling=64)
        permit = await limiter.admit(1)
        permit.release("overload", retry_after_s=20.0)
        started = now()
        (await limiter.admit(1)).release("ok", latency_s=1.0)
        return limiter.limit, now() - started

    limit, waited_s = run(trouble())
    assert limit >= module.START
    assert 20.0 <= waited_s <= 21.0


def test_first_come_is_first_served():
    async def order():
        limiter, served = RateLimiter(ceiling=2), []

        async def client(number):
            permit = await limiter.admit(1)
            served.append(number)
            await asyncio.sleep(0.1)
            permit.release("ok")

        await asyncio.gather(*(client(number) for number in range(50)))
        return served

    assert run(order()) == list(range(50))


def test_cancelled_tasks_leak_no_permit_whether_they_wait_or_are_in_flight():
    async def cancelled():
        limiter, server = RateLimiter(ceiling=16), Meter()
        tasks = [asyncio.create_task(ask_on(limiter, server)) for _ in range(200)]
        for _ in range(190):
            await asyncio.sleep(0.03)
            tasks.pop(random.randrange(len(tasks))).cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
        left = limiter.in_flight, limiter.waiting
        permits = await asyncio.wait_for(admitted(limiter, int(limiter.limit)), 60)
        return left, len(permits), limiter

    left, count, limiter = run(cancelled())
    assert left == (0, 0)
    assert count == limiter.in_flight >= module.START


def test_a_task_cancelled_between_its_admission_and_its_turn_gives_the_place_back():
    async def race():
        limiter = RateLimiter(ceiling=1)
        held = await limiter.admit(1)
        waiter = asyncio.create_task(limiter.admit(1))
        await asyncio.sleep(0)
        held.release("ok")  # admits the waiter, which has not run yet
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
        return limiter.in_flight, limiter.waiting

    assert run(race()) == (0, 0)


def test_a_cancelled_head_that_needed_many_tokens_lets_the_next_pass():
    async def head():
        limiter = RateLimiter(ceiling=8, tokens_per_minute=600)
        await limiter.admit(1)
        large, small = asyncio.create_task(limiter.admit(11)), asyncio.create_task(limiter.admit(2))
        await asyncio.sleep(0.01)
        large.cancel()
        await small
        return now()

    assert run(head()) < 0.05  # the large one would have been admitted after 0.1 s


def test_a_limiter_serves_another_loop_after_one_that_was_cut_short():
    limiter = RateLimiter(ceiling=4, requests_per_minute=60)

    async def stuck():
        async with asyncio.timeout(1):
            await admitted(limiter, 4)

    with pytest.raises(TimeoutError):
        run(stuck())

    async def again():
        await asyncio.sleep(10)
        return await asyncio.wait_for(limiter.admit(1), 60)

    assert run(again())


def test_stop_wakes_every_waiter_and_admits_nobody():
    async def stopped():
        limiter = RateLimiter(ceiling=1)
        held = await limiter.admit(1)
        waiters = [asyncio.create_task(limiter.admit(1)) for _ in range(10)]
        await asyncio.sleep(0)
        limiter.stop()
        raised = await asyncio.gather(*waiters, return_exceptions=True)
        held.release("ok")
        with pytest.raises(LimiterStopped):
            await limiter.admit(1)
        return raised, limiter.in_flight, limiter.waiting

    raised, in_flight, waiting = run(stopped())
    assert [type(error) for error in raised] == [LimiterStopped] * 10
    assert (in_flight, waiting) == (0, 0)


def test_a_permit_is_released_once():
    async def twice():
        permit = await RateLimiter(ceiling=1).admit(1)
        permit.release("failed")
        permit.release("failed")

    with pytest.raises(RuntimeError, match="once"):
        run(twice())


def test_a_refusal_for_its_content_changes_nothing():
    async def refused():
        limiter = RateLimiter(ceiling=64)
        for permit in await admitted(limiter, int(limiter.limit)):
            permit.release("failed")
        return limiter.limit, limiter.throttled, limiter.in_flight

    assert run(refused()) == (module.START, 0, 0)


def test_the_history_is_bounded_and_tells_time_limit_and_reason():
    limiter = RateLimiter(ceiling=64)

    async def bursts():
        await load(limiter, Allowance(20, 3, 0.2), 60, clients=80)
        for _ in range(300):
            (await limiter.admit(1)).release("rate", retry_after_s=1.0)

    run(bursts())
    history = limiter.describe()["history"]
    assert len(history) == 200
    assert history == sorted(history, key=lambda entry: entry[0])
    assert {why for _, _, why in history} <= {"growth", "429", "429, rate", "queueing"}
