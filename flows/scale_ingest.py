"""Run ingest: begin a log in Kafka, or go on with the one that a folder belongs to."""

import dataclasses
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
import structlog
from bytewax.inputs import Source

from connectors.kafka.control import ControlFeed
from connectors.kafka.topics import (
    LOG,
)
from connectors.kafka.wire import end
from connectors.sources.replay import ReplaySource
from flows import ingest
from flows.broker import Agreed, Broker, agreed_at, begin, broker_of, config_entry, run_to_end
from flows.engine import inputs_for
from flows.error_reports import report_errors
from flows.live import Prepared, Request
from flows.logs import log_to_standard_error
from flows.models import load_models
from flows.runs import describe_inputs, recovery_at
from flows.services import Services, kafka_password
from flows.settings import Settings, load_profile
from operators.errors import SettingsError
from operators.messages import (
    Raw,
)

LIVE: list[dict[str, Any]] = [{"name": "live"}]


class Own(msgspec.Struct, frozen=True):
    """What ingest keeps in its folder: which log it writes, and from what."""

    log: str
    inputs: list[dict[str, Any]]
    finished: bool = False


def ingest_recording(
    services: Services,
    profile: str,
    symbols: tuple[str, ...] | None,
    paths: Sequence[Path],
    headlines: Sequence[Path],
    folder: Path,
    *,
    speed: float | None = None,
) -> bool:
    """Write recordings into the log; return whether all of it is there.

    `folder` keeps where it stands: the same call goes on from there. `speed` is a multiple of
    real time, None as fast as possible.

    Raises:
        EngineError, models.runtime.ModelError: what cannot be done, in one sentence.
    """
    stop = begin()
    inputs, settings = inputs_for(load_profile(profile, symbols=symbols), paths, headlines)
    source = ReplaySource(inputs, speed=speed, stop=stop)
    described = describe_inputs([*paths, *headlines])
    return _ingest(services, settings, folder, stop, source, described)


def ingest_live(services: Services, request: Request, folder: Path) -> None:
    """Write what the feeds of a live run bring into the log, until told to stop.

    Raises:
        EngineError, models.runtime.ModelError: what cannot be done, in one sentence.
    """
    stop = begin()
    # On disk before it is in Kafka: what a power cut took back would come again as something else.
    durable = msgspec.structs.replace(request.profile.live, fsync_seconds=0.0)
    profile = msgspec.structs.replace(request.profile, live=durable)
    with Prepared(dataclasses.replace(request, profile=profile)) as prepared:
        prepared.feeds.append(ControlFeed(services.need_kafka(), kafka_password()))
        source = prepared.source(folder / "journal", stop, None)
        _ingest(services, request.settings, folder, stop, source, LIVE)


def _ingest(
    services: Services,
    settings: Settings,
    folder: Path,
    stop: Event,
    source: Source[Raw],
    inputs: list[dict[str, Any]],
) -> bool:
    log_to_standard_error()
    report_errors()
    broker = broker_of(services)
    models = load_models(settings)
    count = broker.settings.partitions
    own = _own_log(broker, Agreed(settings, models.identities, count, ""), folder, inputs)
    if own.finished:
        structlog.get_logger(__name__).info("log_is_whole", folder=str(folder))
        return True
    flow = ingest.build(settings, models, source, broker.sink(), count)
    run_to_end(flow, recovery_at(folder / "recovery"))
    finished = not stop.is_set() and inputs != LIVE
    if finished:
        broker.send([end(LOG.name, partition) for partition in range(count)])
        _keep(folder, msgspec.structs.replace(own, finished=True))
    return finished


def _own_log(broker: Broker, agreed: Agreed, folder: Path, inputs: list[dict[str, Any]]) -> Own:
    """Begin a log, or go on with the one that `folder` belongs to.

    Raises:
        SettingsError: broker, folder, configuration or inputs are those of different logs.
    """
    replace = msgspec.structs.replace
    known, file = agreed_at(broker), folder / "log.json"
    prefix = broker.settings.prefix
    own = msgspec.json.decode(file.read_bytes(), type=Own) if file.is_file() else None
    if own is None:
        if known is not None:
            raise SettingsError(
                f"{folder} does not hold where the log under the prefix '{prefix}' stands; go on "
                "with the folder it was begun with, or choose another 'prefix'"
            )
        own = Own(uuid.uuid4().hex, inputs)
        shutil.rmtree(folder / "recovery", ignore_errors=True)
        _keep(folder, own)
    if own.inputs != inputs:
        raise SettingsError(
            f"{folder} stands in a log of other inputs; name another --folder, and choose another "
            "'prefix'"
        )
    if known is None:
        if (folder / "recovery").is_dir():
            raise SettingsError(
                f"{folder} stands in a log that is not at {broker.settings.bootstrap} under the "
                f"prefix '{prefix}': its data are gone, or these are others; to begin anew, name "
                "another --folder"
            )
        broker.send([config_entry(replace(agreed, log=own.log))])
    elif known != replace(agreed, log=own.log):
        raise SettingsError(
            f"the log under the prefix '{prefix}' was begun from another folder, or with another "
            "configuration, universe or models; choose another 'prefix' for this one"
        )
    return own


def _keep(folder: Path, own: Own) -> None:
    """Write `own` into the folder, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / "log.json.fresh"
    fresh.write_bytes(msgspec.json.encode(own, order="sorted"))
    fresh.replace(folder / "log.json")
