"""A feed that asks every so often: the round of asking, resting and saying how it goes."""

import asyncio
import random
import ssl
from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

import structlog

from connectors.feeds import FeedHealth, Inbox
from connectors.resilience import Backoff
from connectors.secrets import Secret
from connectors.sources.polling import Hosts, Poller, PollError, PollSettings
from operators.messages import Raw

log = structlog.get_logger(__name__)

_LONGEST_REST = 600.0  # s more than usual while a venue is away; news is late by no more


class UnusableError(Exception):
    """An answer of another form than the venue's; the text does not hold it."""


class StoppedError(Exception):
    """The venue will never answer this feed as it is set; the text says what to do."""


class Cadence(Protocol):
    """What every polled feed's settings have."""

    @property
    def every_s(self) -> float:
        """Seconds between two rounds."""

    @property
    def jitter(self) -> float:
        """A share of that, added at random, so that feeds do not ask in step."""

    @property
    def poll(self) -> PollSettings:
        """How a host is asked."""


class PolledFeed:
    """A feed whose `ask` is awaited every `every_s`, whatever it raises."""

    def __init__(
        self,
        name: str,
        settings: Cadence,
        *,
        headers: Mapping[str, str | Secret] | None = None,
        tls: ssl.SSLContext | None = None,
        hosts: Hosts | None = None,
    ) -> None:
        """Prepare a feed; `hosts` is to be shared by the feeds of a process."""
        self.name = name
        self.symbols: tuple[str, ...] = ()
        self.health = FeedHealth(name)
        self._cadence = settings
        self._headers = headers
        self._tls = tls
        self._hosts = hosts or Hosts()

    def remember(self, raw: Raw) -> None:
        """Learn nothing, unless a feed has something to learn."""

    async def ask(self, poller: Poller, inbox: Inbox) -> float | None:
        """Ask once and deliver what is new; return the seconds to rest, None for the usual.

        Raises:
            PollError: no usable answer.
            UnusableError: an answer of another form.
            StoppedError: there will never be one.
        """
        raise NotImplementedError

    async def run(self, inbox: Inbox) -> None:
        """Ask until cancelled. Nothing that a venue or a network does ends it."""
        cadence = self._cadence
        backoff = Backoff(min(cadence.every_s, _LONGEST_REST), _LONGEST_REST)
        async with self._poller(inbox.clock) as poller:
            while self.health.state != "stopped":
                rest = await self._round(poller, inbox)
                if self.health.state == "up":
                    backoff.reset()
                elif self.health.state == "cut":
                    rest += backoff.next()
                await asyncio.sleep(rest * (1.0 + cadence.jitter * random.random()))  # noqa: S311
        await asyncio.Event().wait()  # a feed does not end

    def _poller(self, now: Callable[[], int]) -> Poller:
        return Poller(
            self._cadence.poll,
            self.health,
            tls=self._tls,
            headers=self._headers,
            hosts=self._hosts,
            now=now,
        )

    async def _round(self, poller: Poller, inbox: Inbox) -> float:
        """Ask once; return the seconds to rest."""
        health = self.health
        every = self._cadence.every_s
        was_up, before = health.state == "up", health.note
        try:
            rest = await self.ask(poller, inbox)
        except PollError as error:
            health.state, health.note = "cut", f"no answer: {error.reason}"
            return max(every, error.retry_after or 0.0)
        except UnusableError as error:
            health.counts["rejected"] += 1
            health.state, health.note = "cut", f"unusable answer: {error}"
            log.warning("answer_unusable", feed=self.name, reason=str(error))
            return every
        except StoppedError as error:
            health.state, health.note = "stopped", str(error)
            log.warning("feed_stopped", feed=self.name, reason=str(error))
            return 0.0
        except Exception as error:  # noqa: BLE001 - what a venue sends must not end the feed
            # Without the error's text, which may hold what the venue sent.
            health.counts["failed"] += 1
            health.state = "cut"
            health.note = f"an answer could not be handled ({type(error).__name__})"
            log.warning("answer_not_handled", feed=self.name, error=type(error).__name__)
            return every
        health.state = "up"
        if not was_up and health.note == before:
            health.note = ""
        return every if rest is None else rest


def at_base(url: str, base: str) -> str:
    """Return `url` at another host, as a fake venue's; path and query stay.

    >>> at_base("https://api.example/v1/news?lang=EN", "http://127.0.0.1:8900")
    'http://127.0.0.1:8900/v1/news?lang=EN'
    """
    there, here = urlsplit(base), urlsplit(url)
    path = there.path.rstrip("/") + here.path
    return urlunsplit((there.scheme, there.netloc, path, here.query, ""))
