"""Run the engine in one process: universe, store, recovery, stopping."""

import gc
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import msgspec
from bytewax.inputs import Source
from bytewax.outputs import Sink
from bytewax.recovery import RecoveryConfig
from bytewax.run import cli_main

from connectors.inlet import Inlet, inlet_folder
from connectors.sinks.dead_letters import DeadLetters
from connectors.sinks.log import Log, LogSink
from connectors.sinks.sqlite import SqliteSink
from connectors.sinks.store import open_store
from connectors.sources.replay import (
    Progress,
    ReplayInputs,
    ReplaySource,
    iterate,
    symbols_in,
)
from connectors.sources.stopping import install_stop_signals
from flows.board import Board, ViewSink
from flows.heart import Heart
from flows.latency import Latency
from flows.models import load_models
from flows.recovery_faults import telling_of
from flows.runs import (
    begin_run,
    describe_inputs,
    end_run,
    recovery_at,
    recovery_folder,
    run_id,
)
from flows.settings import Settings, for_own_log, with_receive_offset
from flows.signals import build
from operators import metrics
from operators.errors import InputError
from operators.messages import Raw, Tick
from operators.normalise import normalise, receive_offset

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from flows.services import Services

# State is snapshot, and output made durable, once in this time: what a crash repeats.
EPOCH = timedelta(seconds=2)
# Live, a snapshot makes 50 symbols wait for some 30 ms; so rarely, fewer than one tick in a
# hundred. Repeating five seconds of a busy log takes less than one.
LIVE_EPOCH = timedelta(seconds=5)
ALL = ("all",)
OFFSET_TRADES = 100
OFFSET_LINES = 100_000
OFFSET_STEP = 50_000_000  # ns


@dataclass(frozen=True)
class Run:
    """What makes a run, whatever its input: settings, and where results go."""

    settings: Settings
    store: Path
    inputs: list[dict[str, Any]]  # as `describe_inputs` tells them apart
    workers: int = 1
    board: Board | None = None
    dead_letters: Path | None = None
    overwrite: bool = False
    latency: Latency | None = None
    live: bool = False  # its input has no end: old rows are pruned
    services: "Services | None" = None  # stores besides SQLite
    registry: "CollectorRegistry | None" = None  # where they show how they do


def run_replay(
    settings: Settings,
    paths: Sequence[Path],
    store: Path,
    *,
    headlines: Sequence[Path] = (),
    speed: float | None = None,
    workers: int = 1,
    board: Board | None = None,
    fast_until: int | None = None,
    dead_letters: Path | None = None,
    overwrite: bool = False,
    services: "Services | None" = None,
) -> bool:
    """Replay `paths` into `store`; return whether the inputs were used up.

    SIGTERM and SIGINT end it in order; the same call goes on from there, as it does after a
    crash. `speed` is a multiple of real time, None as fast as possible. `board` watches.

    Raises:
        EngineError, models.runtime.ModelError: what cannot be done, in one sentence.
    """
    inputs, settings = inputs_for(settings, paths, headlines)
    described = describe_inputs([*paths, *headlines])

    def source(stop: Event, _: str, inlet: Inlet) -> Source[Raw]:
        return ReplaySource(
            inputs,
            speed=speed,
            fast_until=fast_until,
            stop=stop,
            on_progress=None if board is None else _progress_of(board),
            inlet=inlet,
        )

    return run_flow(
        Run(
            settings,
            store,
            described,
            workers,
            board,
            dead_letters,
            overwrite,
            services=services,
        ),
        source,
    )


def run_flow(run: Run, make_source: Callable[[Event, str, Inlet], Source[Raw]]) -> bool:
    """Run the whole engine over one source; return whether its input was used up.

    `make_source` gets the event that ends the input, "fresh" or "resume", and the inlet by which
    operators' orders come. A run that was stopped or killed goes on where it was when it is
    called again.

    Raises:
        EngineError, models.runtime.ModelError: what cannot be done, in one sentence.
    """
    settings, store = run.settings, run.store
    models = load_models(settings)
    with ExitStack() as stack:
        rows = stack.enter_context(closing(open_store(store)))
        how = begin_run(rows, settings, run.inputs, models.identities, overwrite=run.overwrite)
        said = {"simulated": True} if settings.group.simulated else {}
        log = stack.enter_context(closing(Log(log_file(store), run=run_id(rows), **said)))
        log.info("run_begun", how=how, profile=settings.profile, models=models.identities)
        recovery = recovery_at(recovery_folder(store))
        stop = Event()
        install_stop_signals(stop)
        inlet = stack.enter_context(Inlet(inlet_folder(store)))
        if how == "fresh":
            inlet.clear()
        source = make_source(stop, how, inlet)
        simulated = settings.group.simulated
        outbox: list[tuple[str, Sink[Any]]] = []
        proven = None
        if run.services is not None and run.services.stores:
            # Half a second of imports, and only then.
            from flows.delivery import delivering, outbox_folder, proven_by  # noqa: PLC0415

            if how == "fresh" and run.overwrite:  # nobody waits for what is replaced
                shutil.rmtree(outbox_folder(store), ignore_errors=True)
            delivered = stack.enter_context(
                delivering(
                    run.services,
                    store,
                    settings.profile,
                    stop=stop,
                    simulated=simulated,
                    registry=run.registry,
                )
            )
            outbox.append(("outbox", delivered))
            proven = proven_by(run.services, delivered)
        sinks = sinks_for(store, live=run.live, proven=proven, simulated=simulated) + outbox
        if run.board is not None:
            sinks.append(("view", ViewSink(run.board)))
        if run.dead_letters is not None:
            sinks.append(("dead_letters", DeadLetters(run.dead_letters, run_id(rows))))
        metrics.reset()
        if run.live:
            # Models and modules stay: looking through them again and again would take a
            # collector a tenth of a second each time.
            gc.collect()
            gc.freeze()
        begin = time.monotonic()
        stack.enter_context(Heart(inlet_folder(store), live=run.live))
        with telling_of(recovery):
            cli_main(
                build(settings, models, source, sinks, run.latency),
                workers_per_process=run.workers,
                epoch_interval=LIVE_EPOCH if run.live else EPOCH,
                recovery_config=RecoveryConfig(str(recovery)),
            )
        finished = not stop.is_set()
        log.info("run_ended", finished=finished)
        end_run(rows, finished=finished, seconds=time.monotonic() - begin, timers=metrics.timers())
    return finished


def inputs_for(
    settings: Settings, paths: Sequence[Path], headlines: Sequence[Path] = ()
) -> tuple[ReplayInputs, Settings]:
    """Open the inputs, and settle the universe: the profile's, or every symbol found.

    Raises:
        InputError: an input is absent or unknown, or no symbol is found in them.
    """
    group = settings.group
    inputs = ReplayInputs(
        paths,
        headlines=headlines,
        tz=settings.inputs.tz,
        label=settings.inputs.label,
        interval=group.interval_ns,
        calendar=group.calendar,
    )
    if not group.symbols or group.symbols == ALL:
        found = symbols_in(inputs)
        if not found:
            raise InputError(f"no symbol is found in {', '.join(map(str, paths))}")
        group = msgspec.structs.replace(group, symbols=found)
        settings = msgspec.structs.replace(settings, group=group)
    if inputs.timed:
        return inputs, for_own_log(settings)
    if settings.inputs.estimate_receive_offset:
        settings = with_receive_offset(settings, _receive_offset(inputs, settings.symbols))
    return inputs, settings


def _receive_offset(inputs: ReplayInputs, symbols: tuple[str, ...]) -> int:
    """Return how far the recorder's clock ran behind the venue's, from the first trades.

    From few trades, so that cutting the recording short later changes nothing; to the
    twentieth of a second, a fifth of the lateness allowed, so that a bad line does not either.
    """
    trades: dict[tuple[str, int | None], Tick] = {}
    for raw in islice(iterate(inputs), OFFSET_LINES):
        for message in normalise([raw]):
            if isinstance(message, Tick) and message.symbol in symbols:
                trades.setdefault((message.symbol, message.trade_id), message)
        if len(trades) == OFFSET_TRADES:
            break
    offset = receive_offset(trades.values()) or 0
    return round(offset / OFFSET_STEP) * OFFSET_STEP


def source_for(settings: Settings, paths: Sequence[Path]) -> tuple[ReplaySource, Settings]:
    """Return a source that replays as fast as possible until SIGTERM, and settled settings."""
    inputs, settings = inputs_for(settings, paths)
    stop = Event()
    install_stop_signals(stop)
    return ReplaySource(inputs, stop=stop), settings


def sinks_for(
    store: Path | None,
    *,
    live: bool = False,
    proven: Callable[[], int] | None = None,
    simulated: bool = False,
) -> list[tuple[str, Sink[Any]]]:
    """Return the sinks of a run by step id; `proven` as `SqliteSink` takes it."""
    if store is None:
        return []
    return [
        ("store", SqliteSink(store, live=live, proven=proven, simulated=simulated)),
        ("run_log", LogSink(log_file(store), simulated=simulated)),
    ]


def log_file(store: Path) -> Path:
    """Return the log beside a store."""
    return Path(f"{store}.log")


def _progress_of(board: Board) -> Any:
    share = [0.0]
    board.progress = lambda: share[0]

    def update(progress: Progress) -> None:
        if progress.total:
            share[0] = progress.done / progress.total

    return update
