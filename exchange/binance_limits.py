"""Binance's limit of request weight by IP: 429 when it is used up, 418 for who does not stop."""

import math
from collections import defaultdict
from dataclasses import dataclass

from exchange.rules import BinanceRules, RollingWindow, Rules

__all__ = ["Limits"]


@dataclass(slots=True)
class _Address:
    """What is remembered of one IP; times are monotonic seconds."""

    window: RollingWindow
    warned_until: float = 0.0  # the last 429's Retry-After
    ignored: int = 0  # requests within it
    banned_until: float = 0.0
    bans: int = 0


class Limits:
    """Count request weight by IP."""

    def __init__(self, settings: BinanceRules, rules: Rules) -> None:
        """Begin with nothing used."""
        self._settings = settings
        self._rules = rules
        self._addresses: defaultdict[str, _Address] = defaultdict(
            lambda: _Address(RollingWindow(settings.weight_per_minute, 60.0))
        )

    def used(self, address: str, now: float) -> int:
        """Tell the weight that an IP used within the last minute."""
        return self._addresses[address].window.used_at(now)

    def take(self, address: str, weight: int, now: float) -> tuple[int, int] | None:
        """Take a request's weight; else (429 or 418, seconds until it may be asked again)."""
        one = self._addresses[address]
        if now < one.banned_until:
            self._rules.breach("requests_while_banned", address)
            return 418, math.ceil(one.banned_until - now)
        if now < one.warned_until:
            # The weight may be there again already; who was told to wait has not waited.
            one.ignored += 1
            self._rules.breach("requests_before_retry_after", address)
            if one.ignored >= self._settings.bans_after:
                # Bans grow with repetition, from 2 minutes to 3 days.
                seconds = min(self._settings.ban_seconds * 2**one.bans, 3 * 86_400.0)
                one.bans += 1
                one.ignored = 0
                one.banned_until = now + seconds
                return 418, math.ceil(seconds)
            return 429, math.ceil(one.warned_until - now)
        if one.window.take(now, weight):
            one.ignored = 0
            return None
        self._rules.breach("request_weight", address)
        seconds = max(1, math.ceil(one.window.seconds_until(now, weight)))
        one.warned_until = now + seconds
        return 429, seconds
