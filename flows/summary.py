"""What a run did, computed from its store alone.

So it is right after a kill -9 and a resume, and for a store someone else made: each row has
an identity, and running counts are kept in stages' state.
"""

import sqlite3
from collections import defaultdict
from typing import Any

import msgspec

from connectors.sinks.health import read_feed_health
from connectors.sinks.retention import forgotten
from flows.ledger import totals
from flows.runs import last_run
from models.statistics import wilson
from operators.messages import Action, Reason
from operators.metrics import Timer

STAGES = (
    "normalise",
    "clocks",
    "quality",
    "bars",
    "indicators",
    "cross_section",
    "forecast",
    "policy",
    "sentiment",
    "fusion",
    "risk",
    "outcomes",
)

_PLACES = ("below", "within", "above")
PROMISED = 0.8  # between the quantiles .1 and .9


class _Share(msgspec.Struct):
    weight: float = 0.0


class _Detail(msgspec.Struct):
    """Of a signal's detail, only what the summary reads."""

    legs: dict[str, _Share] = {}


def summarise(store: sqlite3.Connection) -> dict[str, Any]:
    """Return the run's counts, decisions, results and stage latencies as one JSON object.

    `ticks_in` is every trade, quote and delivered bar seen: those `accepted` (they are in a
    bar, or in one that was still open at the end), those `rejected` by reason, and those
    `late`. Where retention dropped rows, all but `forgotten` is of what the store still holds.
    Bars are in the form known last, so a trade fetched afterwards counts where it happened.
    Stage latencies cover the processes that ended themselves, not one killed.
    """
    rejected = _counts(store, "SELECT reason, count(*) FROM rejections GROUP BY reason")
    counted = _tallies(store, "clocks")
    # Of these only the first are kept as rows.
    if unknown := counted.get("unknown_symbol"):
        rejected[Reason.UNKNOWN_SYMBOL] = unknown
    rejected |= _unused(store)
    late = rejected.pop(Reason.LATE, 0)
    told = _told(store)
    accepted = _accepted(store, told)
    past = _past(store, told)
    counted_in = accepted + sum(rejected.values()) + late
    row = last_run(store)
    return {
        "ticks_in": counted_in,
        # Counted where messages enter, before anything can lose one; 0 unless one was lost.
        "unaccounted": counted.get("received", counted_in + past) - counted_in - past,
        "forgotten": past,
        "accepted": accepted,
        "rejected": dict(sorted(rejected.items())),
        "late": late,
        "ignored": {
            name.removeprefix("ignored:"): count
            for name, count in counted.items()
            if name.startswith("ignored:")
        },
        "gaps": _one(store, "SELECT count(*) FROM gaps"),
        "data_loss": _data_loss(store),
        "feeds": read_feed_health(store),
        "bars": _counts(store, "SELECT quality, count(*) FROM final_bars GROUP BY quality"),
        "headlines": _one(
            store, "SELECT count(*) FROM notices WHERE kind IN ('Headline', 'ScoredHeadline')"
        ),
        "signals": dict.fromkeys(map(str, Action), 0)
        | _counts(store, "SELECT action, count(*) FROM signals GROUP BY action"),
        "approved": _one(store, "SELECT count(*) FROM signals WHERE approved"),
        "held_by": _held_by(store),
        "effective_weights": _effective_weights(store),
        "hit_rate": _hit_rate(store),
        "intervals": _intervals(told),
        "models": _ages(store),
        "pnl": _pnl(store),
        "var": _var(store),
        "simulated": row is not None and bool(row["simulated"]),
        "finished": row is not None and row["finished"] is not None,
        "seconds": 0.0 if row is None else round(row["seconds"], 3),
        "stages": {} if row is None else _stages(msgspec.json.decode(row["stages"])),
    }


def _one(store: sqlite3.Connection, query: str) -> Any:
    return store.execute(query).fetchone()[0]


def _counts(store: sqlite3.Connection, query: str) -> dict[str, int]:
    return dict(sorted((str(name), count) for name, count in store.execute(query)))


def _tallies(store: sqlite3.Connection, key: str) -> dict[str, int]:
    rows = store.execute("SELECT name, count FROM tallies WHERE key = ? ORDER BY name", (key,))
    return {str(name): int(count) for name, count in rows}


def _told(store: sqlite3.Connection) -> dict[str, int]:
    """Return the stages' own counts by name, over all symbols."""
    rows = store.execute("SELECT name, coalesce(sum(count), 0) FROM tallies GROUP BY name")
    return {str(name): int(count) for name, count in rows}


def _accepted(store: sqlite3.Connection, told: dict[str, int]) -> int:
    """Count what is in a bar, or in one still open: trades, quotes and delivered bars.

    A delivered bar is one message, however many trades it says it was made of.
    """
    if "delivered_bars" in told:
        trades = _one(store, "SELECT coalesce(sum(trades), 0) FROM final_bars")
        trades += told["delivered_bars"] - told.get("delivered_trades", 0)
    else:  # a run that is not finished: bars of files have no trades
        trades = _one(
            store,
            "SELECT coalesce(sum(iif(quality = 'observed' AND trades = 0, 1, trades)), 0) "
            "FROM final_bars",
        )
    quotes = _one(store, "SELECT coalesce(sum(quotes), 0) FROM final_bars")
    still_open = sum(told.get(f"open_{kind}", 0) for kind in ("trades", "quotes", "bars"))
    return int(trades + quotes + still_open)


def _past(store: sqlite3.Connection, told: dict[str, int]) -> int:
    """Count what stood in rows that retention has dropped, as it would be counted in them."""
    past = forgotten(store)
    names = ["trades", "quotes", "rejections"]
    if "delivered_bars" not in told:
        names.append("bars_without_trades")
    return sum(past.get(name, 0) for name in names)


def _data_loss(store: sqlite3.Connection) -> dict[str, Any]:
    """Return what was lost against the budget, and what was fetched, repaired or covered."""
    repaired, merged = store.execute(
        "SELECT count(*), coalesce(sum(last.trades - coalesce(first.trades, 0)), 0) "
        "FROM final_bars AS last LEFT JOIN bars AS first USING (symbol, ts_close) "
        "WHERE last.known_at > last.ts_close"
    ).fetchone()
    return {
        **totals(store),
        "repaired_bars": repaired,
        "merged_trades": merged,  # of those fetched, what went into bars that had closed
        "covered": _one(
            store,
            f"SELECT count(*) FROM rejections WHERE reason = '{Reason.COVERED}'",  # noqa: S608
        ),
        "switches": _one(store, "SELECT count(*) FROM switches WHERE before <> after"),
    }


def _unused(store: sqlite3.Connection) -> dict[str, int]:
    """Count what was sound but found no bar: quotes before a price, bars a Clock leapt over."""
    return _counts(
        store,
        "SELECT name, sum(count) FROM tallies WHERE name IN "
        "('unpriced_quotes', 'given_up_trades', 'given_up_quotes') GROUP BY name",
    )


def _held_by(store: sqlite3.Connection) -> dict[str, int]:
    """Count the HOLDs by the first gate that held each, most frequent first."""
    held = store.execute(
        "SELECT coalesce(json_extract(reasons, '$[0]'), 'none') AS gate, count(*) FROM signals "
        "WHERE action = 'HOLD' GROUP BY gate ORDER BY count(*) DESC, gate"
    )
    return dict(map(tuple, held))


def _effective_weights(store: sqlite3.Connection) -> dict[str, float]:
    """Average each leg's weight over the signals that any leg spoke for."""
    decode = msgspec.json.Decoder(_Detail).decode
    sums: defaultdict[str, float] = defaultdict(float)
    n = 0
    for (detail,) in store.execute("SELECT detail FROM signals"):
        legs = decode(detail).legs
        if any(leg.weight for leg in legs.values()):
            n += 1
            for name, leg in legs.items():
                sums[name] += leg.weight
    return {name: round(total / n, 4) for name, total in sums.items()}


def _hit_rate(store: sqlite3.Connection) -> dict[str, Any]:
    """Return how often the score's sign met the realised return's.

    Horizons overlap, so neighbours share most of their return and the interval, which
    takes them as independent, is narrower than the truth.
    """
    row = store.execute("SELECT coalesce(sum(hit), 0), count(hit) FROM outcomes").fetchone()
    hits, n = int(row[0]), int(row[1])
    low, high = wilson(hits, n)
    return {
        "value": round(hits / n, 4) if n else None,
        "n": n,
        "interval": [round(low, 4), round(high, 4)],
    }


def _intervals(told: dict[str, int]) -> dict[str, Any]:
    """Return how often returns fell within the forecast's intervals, which promise 80 %.

    Those counted do not overlap; symbols move together all the same, so the interval, which takes
    them as independent, is narrower than the truth.
    """
    below, within, above = (told.get(f"intervals_{name}", 0) for name in _PLACES)
    n = below + within + above
    low, high = wilson(within, n)
    return {
        "coverage": round(within / n, 4) if n else None,
        "promised": PROMISED,
        "n": n,
        "interval": [round(low, 4), round(high, 4)],
        "below": below,
        "above": above,
    }


def _ages(store: sqlite3.Connection) -> dict[str, dict[str, Any]]:
    """Return by leg how many days old its model is at the end, and whether that is too old."""
    rows = store.execute(
        "SELECT key, name, count FROM tallies WHERE name IN ('model_age_days', 'stale_model') "
        "ORDER BY key"
    )
    found: dict[str, dict[str, Any]] = {}
    for key, name, count in rows:
        leg = found.setdefault(str(key).partition("/")[0], {"age_days": 0, "stale": False})
        if name == "stale_model":
            leg["stale"] = True
        else:
            leg["age_days"] = max(leg["age_days"], int(count))
    return found


def _pnl(store: sqlite3.Connection) -> dict[str, Any]:
    """Return the paper portfolio's result after costs, as shares of the starting capital."""
    last = store.execute("SELECT * FROM portfolio ORDER BY ts_close DESC LIMIT 1").fetchone()
    if last is None:
        return {"return": 0.0, "buy_and_hold": 0.0, "costs": 0.0, "trades": 0, "max_drawdown": 0.0}
    first = store.execute(
        "SELECT equity + costs AS capital FROM portfolio ORDER BY ts_close LIMIT 1"
    ).fetchone()
    capital = first["capital"]
    return {
        "return": last["equity"] / capital - 1.0,
        "buy_and_hold": last["buy_and_hold"] / capital - 1.0,
        "costs": last["costs"] / capital,
        "trades": last["trades"],
        "max_drawdown": _one(store, "SELECT max(drawdown) FROM portfolio"),
    }


def _var(store: sqlite3.Connection) -> dict[str, Any]:
    """Return the highest value at risk of the run (shares of equity) and the Kupiec test."""
    var_95, var_99 = store.execute("SELECT max(var_95), max(var_99) FROM portfolio").fetchone()
    last = store.execute("SELECT risk FROM portfolio ORDER BY ts_close DESC LIMIT 1").fetchone()
    kupiec = None if last is None else msgspec.json.decode(last["risk"]).get("kupiec")
    return {"max_var_95": var_95, "max_var_99": var_99, "kupiec": kupiec}


def _stages(stored: dict[str, dict[str, int]]) -> dict[str, dict[str, float]]:
    """Return p50 and p99 in milliseconds by stage, in the order of the flow."""
    ordered = [stage for stage in STAGES if stage in stored]
    ordered += sorted(set(stored) - set(STAGES))
    quantiles = {}
    for stage in ordered:
        timer = Timer()
        for bucket, count in stored[stage].items():
            timer.buckets[int(bucket)] = count
            timer.count += count
        quantiles[stage] = {
            "p50_ms": round(timer.quantile_ms(0.5), 4),
            "p99_ms": round(timer.quantile_ms(0.99), 4),
        }
    return quantiles
