"""Deliver alerts: the process of `nextgen alerts deliver`, and a live run that keeps one going."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread

import structlog

from connectors.alerts.channel import AppriseChannel
from connectors.alerts.delivery import deliver
from connectors.alerts.settings import DeliverySettings
from connectors.secrets import Secret
from connectors.sinks.store import open_store
from connectors.sources.stopping import install_stop_signals
from flows.error_reports import report_errors
from flows.logs import log_to_standard_error
from flows.runs import run_settings
from flows.secret_lookup import find_secret
from flows.settings import Settings
from operators.errors import SettingsError, StoreError

_REST = 5.0  # seconds between two starts of a process that ends by itself
_LOOK = 0.5
_LEAVE = 20.0  # seconds for it to end when it is told to

_log = structlog.get_logger(__name__)


def target_urls(settings: DeliverySettings) -> dict[str, Secret]:
    """Return the URL of each target that a route names.

    Raises:
        SettingsError: its secret is nowhere to be found.
    """
    found: dict[str, Secret] = {}
    for name, target in settings.targets.items():
        if not settings.routes.severities(name):
            continue
        url = find_secret(target.secret)
        if url is None:
            raise SettingsError(
                f"the alert target '{name}' needs its URL: nextgen secrets set {target.secret}, "
                f"or set NEXTGEN_{target.secret}"
            )
        found[name] = url
    return found


def channels_of(settings: DeliverySettings) -> dict[str, AppriseChannel]:
    """Return what each target is told through; nothing is connected yet.

    Raises:
        SettingsError: there is no route, a secret is absent, or no URL.
    """
    urls = target_urls(settings)
    if not urls:
        raise SettingsError(
            "nobody is to be told of alerts: name targets and routes in the profile's "
            "[alerts.delivery]"
        )
    return {name: AppriseChannel(name, url) for name, url in urls.items()}


def deliver_alerts(
    store: Path, settings: Settings | None = None, *, with_parent: bool = False
) -> None:
    """Deliver the alerts of a store until SIGTERM or SIGINT; by default as its run has it.

    `with_parent` ends it when the process that began it has ended, in whatever way.

    Raises:
        SettingsError: a target cannot be used.
        StoreError: the store cannot be, or another process delivers from it.
    """
    log_to_standard_error()
    report_errors()
    with closing(open_store(store, readonly=settings is None)) as rows:
        settings = settings or run_settings(rows)
    channels = channels_of(settings.alerts.delivery)
    stop = Event()
    install_stop_signals(stop)
    with _alone(store):
        if with_parent:
            Thread(target=_end_with, args=(os.getppid(), stop), daemon=True).start()
        _log.info("alerts_delivered_to", targets=sorted(channels))
        deliver(store, settings.alerts.delivery, channels, stop, run=settings.profile)


def _end_with(parent: int, stop: Event) -> None:
    while not stop.wait(_LOOK):
        if os.getppid() != parent:
            stop.set()


@contextmanager
def _alone(store: Path) -> Iterator[None]:
    """Refuse a second worker: people would be told twice."""
    path = Path(f"{store}.delivering")
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"another process delivers the alerts of {store}") from None
        yield


class AlertProcess:
    """A process that delivers the alerts of a live run, begun anew if it ends by itself.

    A process of its own, so that neither what it imports, nor a server that hangs, nor a fault
    of a library comes near the dataflow.
    """

    def __init__(self, store: Path, settings: DeliverySettings) -> None:
        """Begin nothing yet; without routes nothing will be.

        Raises:
            SettingsError: a target's secret is nowhere to be found.
        """
        self.store = store
        self.wanted = bool(target_urls(settings))
        self._process: subprocess.Popen[bytes] | None = None
        self._began = 0.0

    def keep(self) -> None:
        """Begin it, or begin it anew."""
        if not self.wanted:
            return
        if self._process is not None:
            if self._process.poll() is None or time.monotonic() - self._began < _REST:
                return
            _log.warning("alert_process_ended", code=self._process.returncode)
        self._began = time.monotonic()
        deliver = ["alerts", "deliver", str(self.store), "--with-parent"]
        line = [sys.executable, "-m", "flows.cli", *deliver]
        self._process = subprocess.Popen(line, stdin=subprocess.DEVNULL)  # noqa: S603 - ours

    def end(self) -> None:
        """End it in order."""
        self.wanted = False
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(_LEAVE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
