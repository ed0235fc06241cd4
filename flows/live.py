"""Run the engine on live feeds, or record them, until told to stop."""

import asyncio
import shutil
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from threading import Event, Timer
from typing import TYPE_CHECKING, Self

import httpx2
from bytewax.inputs import Source
from prometheus_client import CollectorRegistry, start_http_server

from connectors.feed_metrics import FeedCollector
from connectors.feeds import Feed
from connectors.inlet import Inlet, inlet_folder
from connectors.inlet_feed import InletFeed
from connectors.live import FeedThread, LiveLog, LiveSource, open_live_log
from connectors.recorder import Recorder
from connectors.selector import Selector
from connectors.sequencer import SequencerSettings
from connectors.sinks.health import write_feed_health
from connectors.sources.stopping import install_stop_signals
from connectors.venue_clock import VenueClock
from flows.alerting import AlertProcess
from flows.board import Board
from flows.engine import Run, run_flow
from flows.error_reports import report_errors
from flows.feeds import LiveProfile, find_keys, open_feeds, tls_of
from flows.latency import Latency
from flows.logs import log_to_standard_error
from flows.process_watch import ProcessWatch, keep_watch
from flows.settings import Settings
from flows.stage_metrics import StageCollector
from flows.warm import warm_entries
from models.calendars import exchange_hours
from operators.errors import InputError, SettingsError
from operators.messages import SECOND, Raw

if TYPE_CHECKING:
    from flows.services import Services

_ASKS = 5  # of the venue's time; the quickest answer is the closest
_REPORT_EVERY = 5  # seconds; each time the store is locked for a moment
_NAP = 0.005  # seconds between two looks at an empty inbox while recording
_EARLY = 10 * SECOND  # before a session's open

type Clock = Callable[[], int]


@dataclass(frozen=True)
class Request:
    """Where a live run's input comes from, and what is kept of it."""

    settings: Settings
    profile: LiveProfile
    ca: Path | None = None  # an authority to trust besides the usual ones
    record: Path | None = None
    seconds: float | None = None
    speed: float = 1.0  # of a clock that is not the machine's
    metrics_port: int | None = None
    warm: Path | None = None  # a store with the last bars of another run, to begin with


def journal_folder(store: Path) -> Path:
    """Return where the journal of the run stored at `store` is kept."""
    return Path(f"{store}.journal")


def run_live(
    request: Request,
    store: Path,
    *,
    board: Board | None = None,
    overwrite: bool = False,
    services: "Services | None" = None,
) -> None:
    """Run the engine on live feeds until SIGTERM, SIGINT or `seconds` have passed.

    The same call goes on from there, as it does after a crash: what the journal holds and the
    flow has not seen comes first, then the feeds fetch what was missed.

    Raises:
        EngineError, models.runtime.ModelError: what cannot be done, in one sentence.
    """
    settings = request.settings
    prepared = Prepared(request)
    latency = prepared.latency if request.speed == 1.0 else None
    described = [{"name": "live", "feeds": sorted({feed.name for feed in prepared.feeds})}]
    run = Run(
        settings,
        store,
        described,
        board=board,
        overwrite=overwrite,
        latency=latency,
        live=True,
        services=services,
        registry=prepared.registry,
    )

    def source(stop: Event, how: str, _: Inlet) -> Source[Raw]:
        if how == "fresh" and overwrite:
            shutil.rmtree(journal_folder(store), ignore_errors=True)
        prepared.feeds.append(InletFeed(inlet_folder(store)))
        return prepared.source(journal_folder(store), stop, prepared.health_into(store))

    with prepared:
        run_flow(run, source)


def record(request: Request, folder: Path) -> int:
    """Write what the feeds bring into the recording `folder`; return how many entries it holds.

    Raises:
        EngineError: what cannot be done, in one sentence.
    """
    stop = Event()
    install_stop_signals(stop)
    journal = folder / "journal"  # what is being written; gone once the recording holds it
    with Prepared(request, record=folder) as prepared:
        log, thread = prepared.open(journal, 0, None)
        prepared.stop_after(stop)
        with closing(log):
            thread.start()
            try:
                while not stop.is_set():
                    if not log.take():
                        time.sleep(_NAP)
            finally:
                thread.stop()
            while log.take():
                pass
    shutil.rmtree(journal, ignore_errors=True)
    assert log.recorder is not None
    return log.recorder.next_offset


class Prepared:
    """Feeds, selector and clock of one run, and what watches them."""

    def __init__(self, request: Request, record: Path | None = None) -> None:
        log_to_standard_error()
        report_errors()
        settings, profile = request.settings, request.profile
        self.request = request
        self.folder = record or request.record
        self.only_recorded = record is not None  # its journal is not kept
        self.tls = tls_of(request.ca)
        try:
            self.feeds: list[Feed] = open_feeds(
                profile,
                settings.symbols,
                find_keys(),
                self.tls,
                simulated=settings.group.simulated,
            )
        except ValueError as error:  # a feed refuses its settings, or a key its form
            raise SettingsError(f"profile {settings.profile}: {error}") from error
        order = {symbol: profile.feeds.of(symbol) for symbol in settings.symbols}
        health = {feed.name: feed.health for feed in self.feeds}
        self.selector = Selector(order, health, profile.feeds.selector)
        # Read now: the store may be the run's own, which is emptied when it begins anew.
        self.warm = (
            []
            if request.warm is None
            else warm_entries(request.warm, settings.symbols, settings.group.interval_ns)
        )
        self.latency = Latency(self._time, settings.clock.lateness_ns)
        self.now: Clock = time.time_ns
        self.log: LiveLog | None = None
        self.registry = CollectorRegistry()  # of metrics, if they are asked for
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def open(
        self, journal: Path, resume: int, report: Callable[[], Awaitable[None]] | None
    ) -> tuple[LiveLog, FeedThread]:
        """Open the log and its thread; nothing is connected before the thread starts."""
        request = self.request
        clock = request.settings.clock
        recorder = None
        if self.folder is not None:
            recorder = Recorder(
                self.folder,
                request.profile.feeds.record,
                profile=request.settings.profile,
                symbols=request.settings.symbols,
            )
        self.log, thread = open_live_log(
            self.feeds,
            journal,
            self.selector,
            request.profile.live,
            SequencerSettings(interval_ns=clock.interval_ns, lateness_ns=clock.lateness_ns),
            self._clock,
            resume=resume,
            recorder=recorder,
            every_second=report,
            first=recorder.next_offset if recorder is not None and self.only_recorded else 0,
            warm=self.warm,
        )
        if request.metrics_port is not None:
            self.registry.register(FeedCollector(self.feeds, self.log.inbox, self.selector))
            self.registry.register(StageCollector())
            port = request.metrics_port
            try:
                server, _ = start_http_server(port, addr="127.0.0.1", registry=self.registry)
            except OSError as error:
                raise InputError(f"port {port} cannot be used: {error.strerror}") from error
            self._stack.callback(server.shutdown)
        return self.log, thread

    def source(
        self, journal: Path, stop: Event, report: Callable[[], Awaitable[None]] | None
    ) -> LiveSource:
        """Return the feeds as a source, which ends once `stop` is set or the time is over."""
        self.stop_after(stop)
        return LiveSource(lambda resume: self.open(journal, resume, report), stop)

    def health_into(self, store: Path) -> Callable[[], Awaitable[None]]:
        """Return what writes, each few calls, into a store how feeds and process do.

        It also keeps a process going that delivers alerts, if anybody is to be told.
        """
        settings = self.request.settings
        simulated = settings.group.simulated
        watch = ProcessWatch(settings.alerts.process)
        alerts = AlertProcess(store, settings.alerts.delivery)
        self._stack.callback(alerts.end)
        seconds = count()

        async def report() -> None:
            if next(seconds) % _REPORT_EVERY:
                return
            await asyncio.to_thread(alerts.keep)
            health = [feed.health for feed in self.feeds]
            at = self.now()
            await asyncio.to_thread(write_feed_health, store, health, at=at)
            await asyncio.to_thread(keep_watch, watch, store, at, simulated=simulated)

        return report

    def _time(self) -> int:
        return self.now()

    def stop_after(self, stop: Event) -> None:
        """Set `stop` once the time asked for has passed."""
        if self.request.seconds is not None:
            timer = Timer(self.request.seconds, stop.set)
            timer.daemon = True
            timer.start()
            self._stack.callback(timer.cancel)

    def _clock(self, last: int | None) -> Clock:
        request = self.request
        match request.profile.clock:
            case "venue":
                host = request.profile.feeds.binance.rest_hosts[0]
                self.now = VenueClock(venue_time(host, self.tls), request.speed)
            case "session":
                start = session_start(request.settings.group.calendar, time.time_ns())
                self.now = VenueClock(max(start, last or 0), request.speed)
            case _:
                self.now = time.time_ns
        return self.now


def venue_time(host: str, tls: ssl.SSLContext | None = None) -> int:
    """Ask Binance's REST API at `host` for its time; return it as of now, in UNIX ns.

    Source: "Check Server Time", GET /api/v3/time. Half the way there and back is added, from
    the quickest of five answers.

    Raises:
        InputError: it does not answer, or with something else.
    """
    best: tuple[int, int] | None = None
    try:
        with httpx2.Client(verify=tls or True, timeout=5.0) as client:
            for _ in range(_ASKS):
                sent = time.monotonic_ns()
                answer = client.get(f"{host}/api/v3/time")
                back = time.monotonic_ns()
                told = int(answer.raise_for_status().json()["serverTime"]) * 1_000_000
                trip = back - sent
                if best is None or trip < best[0]:
                    best = (trip, told + trip // 2 - back)
    except (httpx2.HTTPError, KeyError, TypeError, ValueError) as error:
        if "CERTIFICATE" in str(error):
            why = "its certificate is not trusted; name its authority by --ca"
        else:
            why = type(error).__name__
        raise InputError(f"{host} does not tell its time: {why}") from error
    assert best is not None
    return best[1] + time.monotonic_ns()


def session_start(calendar: str, now: int) -> int:
    """Return `now` (ns) if the market is open, else shortly before its latest session's open."""
    today = datetime.fromtimestamp(now / SECOND, UTC).date()
    hours = exchange_hours(calendar, today - timedelta(days=15), today + timedelta(days=1))
    begun = [spans for spans in hours if spans[0][0] <= now]
    if not begun:
        raise InputError(f"{calendar} has had no session lately")
    latest = begun[-1]
    return now if now < latest[-1][1] else latest[0][0] - _EARLY
