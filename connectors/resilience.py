"""Retries, circuit breakers and rate limits: thin over stamina, purgatory and limits.

Time here is monotonic: a step of the wall clock must neither open a rate limit nor hold a
breaker. What they do is counted in the health of the feed that uses them.
"""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

import stamina
from limits import RateLimitItemPerSecond
from limits.strategies import MovingWindowRateLimiter
from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import HalfOpenedState, OpenedState

from connectors.feeds import FeedHealth
from connectors.moving_window import MonotonicWindow

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[Any]]


class BreakerOpenError(Exception):
    """Too much has failed lately: nothing is tried for `rest_seconds` more."""

    def __init__(self, name: str, rest_seconds: float) -> None:
        """Say which breaker is open, and for how long."""
        super().__init__(f"breaker {name} is open for {rest_seconds:.1f} s more")
        self.name = name
        self.rest_seconds = rest_seconds


class RateWindow:
    """At most `limit` of cost within any `seconds`, however placed: no burst at the edges.

    `limits`' moving window over a monotonic clock. Strict at the moment of asking: send
    directly afterwards. `spare_seconds` lengthens the window by what a network may press
    together on the way, since the venue counts arrivals.
    """

    def __init__(
        self,
        limit: int,
        seconds: float,
        *,
        spare_seconds: float = 0.05,
        health: FeedHealth | None = None,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Begin empty; waits are counted as `throttled` in `health`."""
        if limit < 1 or not seconds > 0 or spare_seconds < 0:
            raise ValueError(
                f"expected a limit of at least 1 and seconds above 0, found {limit} and {seconds}"
            )
        self.limit = limit
        self.seconds = seconds
        self._health = health
        self._sleep = sleep
        self._store = MonotonicWindow(clock)
        self._limiter = MovingWindowRateLimiter(self._store)
        # The item counts ms where the library says seconds: its windows are whole numbers.
        self._item = RateLimitItemPerSecond(limit, math.ceil((seconds + spare_seconds) * 1000))
        self._turn = asyncio.Lock()  # first come, first served

    @property
    def used(self) -> int:
        """How much of the limit the running window has taken."""
        return self._store.get_moving_window("", self.limit, self._item.get_expiry())[1]

    def allows(self, cost: int = 1) -> bool:
        """Take `cost` if it fits now; do nothing and say False if not."""
        self._check(cost)
        return self._limiter.hit(self._item, cost=cost)

    async def wait(self, cost: int = 1) -> float:
        """Take `cost` as soon as it fits, in the order of asking; return the seconds waited."""
        self._check(cost)
        waited = 0.0
        async with self._turn:
            while not self._limiter.hit(self._item, cost=cost):
                due = self._store.free_in(self.limit, self._item.get_expiry(), cost) / 1000.0
                due = max(due, 0.0) + 0.001  # past the edge, where the entry stops to count
                if self._health is not None and not waited:
                    self._health.counts["throttled"] += 1
                await self._sleep(due)
                waited += due
        return waited

    def _check(self, cost: int) -> None:
        if not 0 < cost <= self.limit:
            raise ValueError(f"a cost of {cost} never fits a limit of {self.limit}")


class Backoff:
    """Capped exponential waits with full jitter: anywhere in (0, cap], the cap doubling.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    def __init__(
        self,
        first: float = 0.25,
        most: float = 30.0,
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Begin with a cap of `first` seconds and never wait more than `most`."""
        if not 0 < first <= most:
            raise ValueError(f"expected 0 < first <= most, found {first} and {most}")
        self.first = first
        self.most = most
        self._draw = draw
        self._cap = first

    def next(self) -> float:
        """Return the seconds to wait now; the next wait may be twice as long."""
        wait = self._cap * (1.0 - self._draw())  # draw() < 1, so never 0: no busy loop
        self._cap = min(self._cap * 2.0, self.most)
        return wait

    def reset(self) -> None:
        """Begin anew, after a success."""
        self._cap = self.first


class Breaker:
    """Purgatory's circuit breaker, timed by a monotonic clock, with one trial at a time.

    Open after `failures` in a row, for `rest_seconds`; then one call may try, and its
    outcome closes or opens it again. A cancelled call says nothing about the venue.
    """

    def __init__(
        self,
        name: str,
        failures: int = 5,
        rest_seconds: float = 30.0,
        *,
        health: FeedHealth | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        """Begin closed; `health` counts `breaker_opened`, its gauge `breaker_open` how many are."""
        self.name = name
        self.rest_seconds = rest_seconds
        self._health = health
        self._clock = clock
        self._opened_at = 0.0
        self._trial: asyncio.Task[Any] | None = None
        # Its own rest is endless: it counts by the wall clock, so we end the rest for it.
        self._factory = AsyncCircuitBreakerFactory(failures, math.inf)
        self._factory.add_listener(self._changed)
        self._inner: Any = None
        self._was_open = False

    @property
    def open(self) -> bool:
        """Whether a call would be refused now."""
        return self._state == "opened" and self.rest_left > 0

    @property
    def rest_left(self) -> float:
        """Seconds until a trial is allowed; 0 where it is not open."""
        if self._state != "opened":
            return 0.0
        return max(self._opened_at + self.rest_seconds - self._clock(), 0.0)

    @property
    def _state(self) -> str:
        return "closed" if self._inner is None else str(self._inner.context.state)

    async def __aenter__(self) -> Self:
        """Let a call through.

        Raises:
            BreakerOpenError: it is open, or another call is on trial.
        """
        if self._inner is None:
            self._inner = await self._factory.get_breaker(self.name)
        if self._state == "opened" and self.rest_left <= 0:
            self._inner.context.set_state(HalfOpenedState())
        if self._state == "half-opened":
            if self._trial is not None:
                raise BreakerOpenError(self.name, 0.0)
            self._trial = asyncio.current_task()
        try:
            await self._inner.__aenter__()
        except OpenedState:
            pass
        else:
            return self
        raise BreakerOpenError(self.name, self.rest_left)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take note of how the call went."""
        if self._trial is asyncio.current_task():
            self._trial = None
        if error is None or isinstance(error, Exception):
            await self._inner.__aexit__(kind, error, trace)

    def _changed(self, _name: str, event: str, what: Any) -> None:
        if event != "state_changed" or what.state == "half-opened":
            return
        is_open = what.state == "opened"
        if is_open:
            self._opened_at = self._clock()
        if self._health is not None:
            self._health.counts["breaker_opened"] += is_open
            held = self._health.gauges.get("breaker_open", 0.0)
            self._health.gauges["breaker_open"] = held + is_open - self._was_open
        self._was_open = is_open


async def retried[T](
    call: Callable[[], Awaitable[T]],
    *,
    attempts: int,
    on: type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool | float],
    first_seconds: float = 0.25,
    most_seconds: float = 10.0,
    within_seconds: float | None = None,
    health: FeedHealth | None = None,
) -> T:
    """Await `call` up to `attempts` times, with stamina's jittered back-off between.

    Args:
        call: Makes a new awaitable each time.
        attempts: How often at most.
        on: What is worth another attempt; a function may answer with the seconds to wait.
        first_seconds: The first wait, doubled each time, with as much jitter.
        most_seconds: The longest wait.
        within_seconds: Begin no attempt after that, all together.
        health: Where `retries` are counted.

    Raises:
        Exception: the last attempt's.
    """
    async for attempt in stamina.retry_context(
        on,
        attempts=attempts,
        timeout=within_seconds,
        wait_initial=first_seconds,
        wait_max=most_seconds,
        wait_jitter=first_seconds,
    ):
        if health is not None and attempt.num > 1:
            health.counts["retries"] += 1
        with attempt:
            return await call()
    raise AssertionError("stamina ends with a result or an exception")
