"""Rate windows are strict, breakers rest and try again, back-off stays within its cap."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.feeds import FeedHealth
from connectors.resilience import Backoff, Breaker, BreakerOpenError, RateWindow, retried


class Time:
    """A monotonic clock that moves when told, or when slept."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.now += seconds


def window(limit, seconds, time, **options):
    return RateWindow(limit, seconds, spare_seconds=0.0, clock=time, sleep=time.sleep, **options)


def most_within(taken, seconds):
    """Return the highest cost within any closed window of `seconds`."""
    return max(
        (sum(cost for at, cost in taken if start <= at <= start + seconds) for start, _ in taken),
        default=0,
    )


@settings(max_examples=200, deadline=None)
@given(
    limit=st.integers(1, 7),
    steps=st.lists(st.tuples(st.integers(0, 1500), st.integers(1, 7), st.booleans()), max_size=60),
)
def test_no_window_however_placed_holds_more_than_the_limit(limit, steps):
    time = Time()
    rate = window(limit, 1.0, time)
    taken = []

    async def scenario():
        for milliseconds, cost, waits in steps:
            time.now += milliseconds / 1000
            cost = min(cost, limit)
            if waits:
                before = time.now
                waited = await rate.wait(cost)
                assert time.now - before == pytest.approx(waited)
            elif not rate.allows(cost):
                continue
            taken.append((time.now, cost))

    asyncio.run(scenario())
    assert most_within(taken, 1.0) <= limit


def test_window_waits_no_longer_than_it_must():
    time = Time()
    health = FeedHealth("f")
    rate = window(5, 1.0, time, health=health)

    async def scenario():
        assert [await rate.wait() for _ in range(5)] == [0.0] * 5
        return await rate.wait(2)

    assert asyncio.run(scenario()) == pytest.approx(1.0, abs=0.01)
    assert health.counts["throttled"] == 1
    assert rate.used == 2


def test_window_lets_through_in_the_order_of_asking():
    time = Time()
    rate = window(1, 1.0, time)
    order = []

    async def one(name, cost):
        await rate.wait(cost)
        order.append(name)

    async def scenario():
        async with asyncio.TaskGroup() as group:
            for name in "abc":
                group.create_task(one(name, 1))

    asyncio.run(scenario())
    assert order == ["a", "b", "c"]


def test_cost_that_never_fits_is_refused():
    with pytest.raises(ValueError, match="never fits"):
        RateWindow(5, 1.0).allows(6)
    with pytest.raises(ValueError, match="at least 1"):
        RateWindow(0, 1.0)


def test_spare_lengthens_the_window():
    time = Time()
    rate = RateWindow(1, 1.0, spare_seconds=0.5, clock=time)

    assert rate.allows()
    time.now += 1.2
    assert not rate.allows()
    time.now += 0.4
    assert rate.allows()


@given(draws=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=40))
def test_backoff_stays_within_a_doubling_cap(draws):
    given_draws = iter(draws)
    backoff = Backoff(0.25, 8.0, draw=lambda: next(given_draws))

    for number in range(len(draws)):
        assert 0 < backoff.next() <= min(0.25 * 2**number, 8.0)
    backoff.reset()
    assert backoff._cap == 0.25


def attempt(breaker, error=None):
    async def scenario():
        async with breaker:
            if error is not None:
                raise error

    asyncio.run(scenario())


def failed(breaker, times):
    for _ in range(times):
        with pytest.raises(ConnectionError):
            attempt(breaker, ConnectionError())


def test_breaker_opens_rests_and_closes_after_a_trial():
    time = Time()
    health = FeedHealth("f")
    breaker = Breaker("venue", failures=3, rest_seconds=10.0, health=health, clock=time)

    failed(breaker, 3)
    assert breaker.open
    assert (health.counts["breaker_opened"], health.gauges["breaker_open"]) == (1, 1)
    time.now += 9
    with pytest.raises(BreakerOpenError) as refused:
        attempt(breaker)
    assert refused.value.rest_seconds == pytest.approx(1.0)

    time.now += 1
    failed(breaker, 1)  # the trial fails: open for as long again
    assert breaker.rest_left == pytest.approx(10.0)
    time.now += 10
    attempt(breaker)
    assert not breaker.open
    assert (health.counts["breaker_opened"], health.gauges["breaker_open"]) == (2, 0)


def test_success_resets_the_count_of_failures():
    breaker = Breaker("venue", failures=3, clock=Time())

    failed(breaker, 2)
    attempt(breaker)
    failed(breaker, 2)
    assert not breaker.open


def test_half_open_breaker_admits_one_trial_at_a_time():
    time = Time()
    breaker = Breaker("venue", failures=1, rest_seconds=1.0, clock=time)

    async def scenario():
        with pytest.raises(ConnectionError):
            async with breaker:
                raise ConnectionError
        time.now += 2
        begun, end = asyncio.Event(), asyncio.Event()

        async def trial():
            async with breaker:
                begun.set()
                await end.wait()

        task = asyncio.create_task(trial())
        await begun.wait()
        with pytest.raises(BreakerOpenError):
            async with breaker:
                pass
        task.cancel()  # says nothing about the venue: the next is on trial
        with pytest.raises(asyncio.CancelledError):
            await task
        async with breaker:
            pass

    asyncio.run(scenario())
    assert not breaker.open


def test_retries_are_counted_and_end():
    health = FeedHealth("f")
    calls = []

    async def call():
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionError
        return "answer"

    async def scenario(attempts):
        return await retried(
            call, attempts=attempts, on=ConnectionError, first_seconds=0.001, health=health
        )

    assert asyncio.run(scenario(3)) == "answer"
    assert health.counts["retries"] == 2
    calls.clear()
    with pytest.raises(ConnectionError):
        asyncio.run(scenario(2))


def test_what_is_not_worth_it_is_not_retried():
    async def call():
        raise KeyError

    with pytest.raises(KeyError):
        asyncio.run(retried(call, attempts=5, on=ConnectionError))
