"""Health, the run, its feeds and figures."""

import time
from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from api import models, views
from api.context import READ_PROBLEMS, Context, Ctx, Reads, fusion_settings
from api.control import last_pulse
from api.health import components, status_of
from api.problems import Refusal, responses

router = APIRouter(tags=["system"])
_LIVE = 5.0  # seconds within which a pulse is one


@router.get("/health/live", responses=responses(413, 421, 429, 431, 500, 503))
async def live() -> models.Live:
    """Say that this process answers; open to all, and asks nothing of anybody."""
    return models.Live()


@router.get(
    "/health/ready", response_model=models.Health, responses=responses(413, 421, 429, 431, 500, 503)
)
async def ready(context: Ctx) -> Any:
    """Say how each part does; 503 where the store cannot be read. Open to all, without notes."""
    parts = await run_in_threadpool(components, context.reader, context.control)
    parts = [part | {"note": ""} for part in parts]
    status = status_of(parts)
    if status == "unready":
        raise Refusal(503, "the store cannot be read", components=parts)
    return {"status": status, "components": parts}


@router.get("/health", response_model=models.Health, responses=READ_PROBLEMS)
def health(context: Ctx, _: Reads) -> Any:
    """Say how each part does, with notes."""
    parts = components(context.reader, context.control)
    status = status_of(parts)
    if status == "unready":
        raise Refusal(503, "the store cannot be read", components=parts)
    return {"status": status, "components": parts}


@router.get("/run", response_model=models.Run, responses=READ_PROBLEMS)
def run(context: Ctx, _: Reads) -> Any:
    """Return which run the store holds."""
    reader = context.reader
    row = reader.run()
    pulse, old = last_pulse(context.control)
    return {
        "run_id": "" if row is None else row["run_id"],
        "profile": None if row is None else row["profile"],
        "started": None if row is None else row["started"],
        "finished": None if row is None else row["finished"],
        "running": pulse is not None and bool(pulse.body["running"]) and old < _LIVE,
        "simulated": bool(row["simulated"]) if row else _simulated(context),
        "interval": context.interval(),
        "last_close": reader.newest(),
        "symbols": reader.symbols(),
        "models": _models(context),
        "settings": fusion_settings(row),
        "store": reader.rows.name,
    }


def _simulated(context: Context) -> bool:
    found = context.reader.rows.read("SELECT simulated FROM bars ORDER BY ts_close DESC LIMIT 1")
    return bool(found and found[0]["simulated"])


def _models(context: Context) -> list[str]:
    newest = context.reader.signals(limit=1)
    return list(views.signal(newest[0])["models"]) if newest else []


@router.get("/feeds", response_model=list[models.FeedState], responses=READ_PROBLEMS)
def feeds(context: Ctx, _: Reads) -> Any:
    """Return how each feed of a live run did last; a replay has none."""
    return [views.feed(row) for row in context.reader.feeds()]


@router.get("/metrics", response_model=models.Metrics, responses=READ_PROBLEMS)
def metrics(context: Ctx, _: Reads) -> Any:
    """Return how long stages take, what they counted, and how this API does."""
    reader = context.reader
    pulse, old = last_pulse(context.control)
    told = None if pulse is None else pulse.body | {"seconds_old": round(old, 3)}
    stages = {} if told is None else told.pop("stages")
    return {
        "at": time.time_ns(),
        "run": told,
        "stages": stages,
        "feeds": [views.feed(row) for row in reader.feeds()],
        "tallies": reader.tallies(),
        "rejected": reader.rejected(),
        "api": figures(context),
    }


def figures(context: Context) -> dict[str, float]:
    """Return how this API does, by name."""
    guard, hub = context.guard, context.hub
    assert guard is not None
    told: dict[str, float] = {
        f"answers_{hundred}": float(count) for hundred, count in sorted(guard.answers.items())
    }
    return told | {
        "requests": float(guard.timer.count),
        "p50_ms": round(guard.timer.quantile_ms(0.5), 3),
        "p99_ms": round(guard.timer.quantile_ms(0.99), 3),
        "listeners": float(hub.listeners.total()),
    }
