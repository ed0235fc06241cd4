"""Alpha Vantage's GLOBAL_QUOTE, polled within the quota of the key.

Each quote goes into the log as `{"symbol": <ours>, "body": <as it came>}` (kind
"alpha_vantage"). The day's requests are spread over the market's session, symbol after symbol;
each kind of refusal has a behaviour of its own. A symbol whose quote cannot be had has a hole
in the log until the next one comes.
"""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Self
from urllib.parse import urlsplit, urlunsplit

import msgspec
import structlog

from connectors.feeds import FeedHealth, Inbox
from connectors.resilience import Backoff
from connectors.secrets import Secret
from connectors.sources.alpha_vantage_answers import AlphaVantageAnswer, classify, quote_of
from connectors.sources.alpha_vantage_budget import DailyBudget
from connectors.sources.poll_hosts import Hosts, PollSettings
from connectors.sources.poll_requests import Value
from connectors.sources.polling import Poller, PollError
from connectors.sources.unfillable import UnfillableHoles
from models.calendars import Session, sessions
from operators.messages import SECOND, Raw

log = structlog.get_logger(__name__)

_MINUTE = 60 * SECOND
_MAX_BODY = 1 << 16  # a quote has 500 bytes
_FOREVER = {
    AlphaVantageAnswer.PREMIUM: "Alpha Vantage gives quotes to paid keys only, not to this one.",
    AlphaVantageAnswer.BAD_KEY: "Alpha Vantage does not accept the API key; set a valid one.",
    AlphaVantageAnswer.DEMO: (
        "The API key is Alpha Vantage's demo key, which answers examples only; claim a free one."
    ),
    AlphaVantageAnswer.BAD_CALL: "Alpha Vantage does not know GLOBAL_QUOTE any more.",
}
_NO_KEY = "Alpha Vantage needs an API key, and none is set."
_NO_SYMBOL = "None of the symbols is known to Alpha Vantage."


class AlphaVantageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How Alpha Vantage is asked."""

    url: str = "https://www.alphavantage.co/query"
    api_key: Secret = msgspec.field(default_factory=Secret)
    # The free key's. News asked with the same key share it (`DailyBudget`), or have their own
    # part of it: then both parts together are the quota.
    requests_per_day: int = 25
    requests_per_second: float = 1.0  # the free key's
    calendar: str = "XNYS"  # in whose session the day's requests are spread
    min_interval_seconds: float = 60.0  # between two of one symbol, however large the quota
    burst_wait_seconds: float = 1.5  # after "1 request per second"; twice as long each time
    burst_most_seconds: float = 65.0  # older limits are by the minute
    backoff_first_seconds: float = 10.0  # after an answer that says nothing, or none
    backoff_most_seconds: float = 900.0
    check_seconds: float = 0.5  # how often the clock is looked at while there is nothing to do

    def at(self, base: str) -> Self:
        """Return the same settings for the venue at `base`, such as "http://127.0.0.1:8900"."""
        there, here = urlsplit(base), urlsplit(self.url)
        url = urlunsplit((there.scheme, there.netloc, here.path, here.query, ""))
        return msgspec.structs.replace(self, url=url)


class AlphaVantageFeed:
    """Quotes for `symbols`: Alpha Vantage's names by ours."""

    def __init__(
        self,
        settings: AlphaVantageSettings,
        symbols: Mapping[str, str],
        tls: ssl.SSLContext | None = None,
        name: str = "alpha_vantage",
        *,
        hosts: Hosts | None = None,
        budget: DailyBudget | None = None,
    ) -> None:
        """Take what to ask for; `tls` verifies certificates (by default the system's way).

        `hosts` and `budget` are shared with other feeds of the same key.

        Raises:
            CalendarError: the calendar is not known.
        """
        self.name = name
        self.settings = settings
        self.symbols = tuple(symbols)
        self.health = FeedHealth(name)
        self._names = dict(symbols)  # without those dropped
        self._tls = tls
        self._hosts = hosts
        self._budget = DailyBudget(settings.requests_per_day) if budget is None else budget
        self._calendar = sessions(settings.calendar)
        self._holes = UnfillableHoles(name, self.health, "Alpha Vantage tells only the present")
        self._good: dict[str, int] = {}  # when the last quote of a symbol came (ns)
        self._last_poll: int | None = None
        self._next = 0  # whose turn it is
        self._dropped: list[str] = []
        self._backoff = Backoff(settings.backoff_first_seconds, settings.backoff_most_seconds)
        self._bursts = 0  # in a row

    def remember(self, raw: Raw) -> None:
        """Learn what was asked in the last 24 hours, as far as it was answered."""
        if raw.path != self.name:
            return
        self._holes.remember(raw)
        if raw.kind == "alpha_vantage":
            self._budget.take(raw.ts_init)
            self._last_poll = max(raw.ts_init, self._last_poll or 0)

    async def run(self, inbox: Inbox) -> None:
        """Deliver until cancelled; a feed that cannot go on says so and asks no more."""
        # The calendar takes its time to load, which no other feed must wait for.
        await asyncio.to_thread(self._session, inbox.clock())
        per_second = self.settings.requests_per_second
        # Tried again by the plan below, since each attempt counts against the day.
        polling = PollSettings(
            requests=1, per_seconds=1.0 / per_second, attempts=1, max_body_bytes=_MAX_BODY
        )
        began = inbox.clock()
        self._good = dict.fromkeys(self.symbols, began)
        async with Poller(
            polling, self.health, tls=self._tls, hosts=self._hosts, now=inbox.clock
        ) as poller:
            if not self.settings.api_key:
                self._stop(inbox, _NO_KEY)
            while self.health.state != "stopped":
                if not self._names:
                    self._stop(inbox, _NO_SYMBOL)
                    break
                wait = self._wait(inbox.clock())
                if wait is None:
                    wait = await self._poll(inbox, poller)
                await asyncio.sleep(wait)
        await asyncio.Event().wait()  # a feed does not end

    # ------------------------------------------------------------------------- the plan

    def _session(self, now: int) -> Session | None:
        return self._calendar.session_of((now // _MINUTE + 1) * _MINUTE, _MINUTE)

    def _wait(self, now: int) -> float | None:
        """Return how long to look away, or None if a symbol is due."""
        health, settings = self.health, self.settings
        health.gauges["requests_left"] = self._budget.left(now)
        session = self._session(now)
        if session is None:
            health.state, health.note = "quiet", "The market is closed."
            return settings.check_seconds
        free_at = self._budget.free_at(now)
        if free_at > now:
            health.note = f"The day's requests are used up; the next is in {_hours(free_at - now)}."
            if health.state != "cut":
                health.state = "quiet"
            return settings.check_seconds
        # Looked at anew each time: early closes and lost symbols change it.
        spacing = max(
            (session.closes - session.opens) // settings.requests_per_day,
            int(settings.min_interval_seconds * SECOND) // len(self._names),
        )
        last = self._last_poll
        if last is not None and last <= now < last + spacing:
            if health.state == "quiet":
                health.state = "cut" if self._names.keys() <= self._holes.open.keys() else "up"
                health.note = self._remark()
            return settings.check_seconds
        return None

    async def _poll(self, inbox: Inbox, poller: Poller) -> float:
        """Ask for the symbol whose turn it is; return how long to wait before anything else."""
        ours = list(self._names)[self._next % len(self._names)]
        theirs = self._names[ours]
        at = self._last_poll = inbox.clock()
        asked = self.health.counts["requests"]
        params: dict[str, Value] = {
            "function": "GLOBAL_QUOTE",
            "symbol": theirs,
            "apikey": self.settings.api_key,
        }
        failed: PollError | None = None
        try:
            answer = await poller.get(self.settings.url, params)
        except PollError as error:
            failed = error
        for _ in range(self.health.counts["requests"] - asked):  # a redirect is one more
            self._budget.take(at)
        if failed is not None:
            return self._failed(inbox, ours, failed.reason, failed.retry_after)
        if answer.not_modified:  # nothing new, and the feed is well
            self._well(inbox, ours)
            return 0.0
        return self._take(inbox, ours, answer.body)

    # ---------------------------------------------------------------------- the answers

    def _take(self, inbox: Inbox, ours: str, body: bytes) -> float:
        answer = classify(body)
        if answer is not AlphaVantageAnswer.BURST:
            self._bursts = 0
        if answer is AlphaVantageAnswer.OK:
            return self._quote(inbox, ours, body)
        log.warning("alpha_vantage_refused", answer=answer.value, symbol=ours)
        self.health.counts[answer.value] += 1
        if answer is AlphaVantageAnswer.BURST:
            return self._burst()
        if answer is AlphaVantageAnswer.DAILY_QUOTA:
            now = inbox.clock()
            until = self._budget.rest(now)
            self._cut(inbox, self._names)
            self.health.note = f"The day's quota is used up; asked again in {_hours(until - now)}."
            return 0.0
        if answer in _FOREVER:
            self._stop(inbox, _FOREVER[answer])
            return 0.0
        if answer in {AlphaVantageAnswer.EMPTY, AlphaVantageAnswer.BAD_SYMBOL}:
            self._drop(inbox, ours)
            return 0.0
        return self._failed(inbox, ours, f"answer of the kind {answer.value}", None)

    def _quote(self, inbox: Inbox, ours: str, body: bytes) -> float:
        theirs = self._names[ours]
        found = quote_of(msgspec.json.decode(body))
        told = found.get("01. symbol") if isinstance(found, dict) else None
        if not isinstance(told, str) or told.upper() != theirs.upper():
            self.health.counts["rejected"] += 1
            return self._failed(inbox, ours, "a quote of another symbol", None)
        at = inbox.clock()
        entry = b'{"symbol":%b,"body":%b}' % (msgspec.json.encode(ours), body.strip())
        self.health.counts["messages"] += 1
        if not inbox.put(self.name, "alpha_vantage", entry, symbol=ours, ts_init=at):
            self.health.counts["shed"] += 1
            self._holes.begin(inbox, ours, "shed", self._good[ours])
            self._next += 1
            return 0.0
        self._well(inbox, ours)
        return 0.0

    def _well(self, inbox: Inbox, ours: str) -> None:
        at = inbox.clock()
        self._good[ours] = at
        self._holes.end(inbox, ours, at)
        self._backoff.reset()
        self._next += 1
        self.health.state, self.health.note = "up", self._remark()

    def _burst(self) -> float:
        """Ask the same again soon: it was too fast, which another use of the key may cause."""
        settings = self.settings
        self.health.counts["rate_limited"] += 1
        wait = min(settings.burst_wait_seconds * 2.0**self._bursts, settings.burst_most_seconds)
        self._bursts = min(self._bursts + 1, 16)
        self._last_poll = None  # due at once
        return wait

    def _failed(self, inbox: Inbox, ours: str, reason: str, retry_after: float | None) -> float:
        """Open a hole, and ask for the next one later: vain requests count against the day too."""
        log.warning("alpha_vantage_failed", symbol=ours, reason=reason)
        self._cut(inbox, (ours,))
        self.health.note = f"Alpha Vantage brings nothing: {reason}."
        self._last_poll = None
        self._next += 1  # so that one that always fails does not keep the others waiting
        return max(self._backoff.next(), retry_after or 0.0)

    def _drop(self, inbox: Inbox, ours: str) -> None:
        """Ask no more for a symbol that the venue does not know."""
        self._holes.begin(inbox, ours, "cut", self._good[ours])
        self._dropped.append(ours)
        del self._names[ours]  # the turn is now that of the one behind it
        self.health.counts["dropped"] += 1
        self.health.note = self._remark()

    def _stop(self, inbox: Inbox, sentence: str) -> None:
        self._cut(inbox, self.symbols)
        self.health.state, self.health.note = "stopped", sentence
        log.error("alpha_vantage_stopped", reason=sentence)

    def _cut(self, inbox: Inbox, symbols: Mapping[str, str] | tuple[str, ...]) -> None:
        for ours in symbols:
            self._holes.begin(inbox, ours, "cut", self._good[ours])
        self.health.state = "cut"

    def _remark(self) -> str:
        if not self._dropped:
            return ""
        return f"Alpha Vantage does not know {', '.join(self._dropped)}: not asked any more."


def _hours(duration: int) -> str:
    minutes = -(-duration // _MINUTE)
    return f"{minutes // 60} h {minutes % 60} min"
