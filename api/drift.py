"""How far what the forecast meets is from what it learned, computed from stored signals."""

from typing import Any

import msgspec
import numpy as np

from api.reader import Reader
from models.features import Floats
from models.statistics import wilson
from operators.coverage import MISS

_MOST = 20_000  # signals that are looked at, evenly thinned in time


class _Inputs(msgspec.Struct, frozen=True):
    strangeness_hidden: float | None = None
    strangeness_tokens: float | None = None


class _Forecast(msgspec.Struct, frozen=True):
    model: str
    detail: _Inputs = _Inputs()


class _Legs(msgspec.Struct, frozen=True):
    forecast: _Forecast | None = None


class _Detail(msgspec.Struct):
    legs: _Legs = _Legs()


_detail = msgspec.json.Decoder(_Detail).decode


def drift_of(
    reader: Reader,
    manifest: dict[str, dict[str, Any]],
    *,
    symbol: str | None,
    since: int,
    until: int,
    stretches: int,
) -> dict[str, Any]:
    """Return the coverage of the whole run, and how strange inputs of [since, until] were.

    Strangeness is told in shares of the limits beyond which the forecast abstains; they are those
    of the manifest's model, and what another model said is left out.
    """
    limits = {
        f"{name}@{entry['sha256'][:12]}": entry["hidden"]["limits"]
        for name, entry in manifest.items()
        if entry.get("kind") == "forecast"
    }
    closes, found = [], []
    for row in _signals(reader, symbol, since, until):
        leg = _detail(row["detail"]).legs.forecast
        if leg is None or leg.model not in limits:
            continue
        told = (leg.detail.strangeness_hidden, leg.detail.strangeness_tokens)
        if None not in told:
            closes.append(row["ts_close"])
            found.append(
                [value / most for value, most in zip(told, limits[leg.model], strict=True)]
            )
    return {
        "n": len(found),
        "strange": _strange(np.array(found)) if found else None,
        "intervals": _intervals(reader.tallies()),
        "over_time": _over_time(closes, np.array(found), since, until, stretches),
    }


def _signals(reader: Reader, symbol: str | None, since: int, until: int) -> list[dict[str, Any]]:
    """Return signals of [since, until], of every so manyth bar close if they are many."""
    where = "ts_close BETWEEN ? AND ?"
    values: list[Any] = [since, until]
    if symbol is not None:
        where += " AND symbol = ?"
        values.append(symbol)
    [counted] = reader.rows.read(
        f"SELECT count(*) AS n FROM signals WHERE {where}",  # noqa: S608
        values,
    )
    every = -(-int(counted["n"]) // _MOST) or 1
    return reader.rows.read(
        f"SELECT ts_close, detail FROM signals WHERE {where}"  # noqa: S608
        " AND ts_close / interval / ? * ? = ts_close / interval ORDER BY ts_close",
        (*values, every, every),
    )


def _intervals(tallies: dict[str, int]) -> dict[str, Any]:
    """Return where returns fell that were followed over the whole run, one at a time a symbol."""
    below, within, above = (
        tallies.get(f"intervals_{side}", 0) for side in ("below", "within", "above")
    )
    n = below + within + above
    return {
        "n": n,
        "below": below,
        "above": above,
        "coverage": within / n if n else None,
        "interval": wilson(within, n),
        "promised": 1.0 - 2.0 * MISS,
    }


def _strange(found: Floats) -> float:
    """Return the share of inputs beyond either limit."""
    return float((found > 1.0).any(axis=1).mean())


def _over_time(
    closes: list[int], found: Floats, since: int, until: int, stretches: int
) -> list[dict[str, Any]]:
    """Return each stretch of time that holds any: its medians, and the share beyond a limit."""
    if not closes:
        return []
    begin = max(since, closes[0])
    span = (until - begin) // stretches + 1
    places = (np.array(closes, np.int64) - begin) // span
    told = []
    for index in np.unique(places).tolist():
        here = found[places == index]
        hidden, tokens = np.median(here, axis=0).tolist()
        told.append(
            {
                "since": begin + index * span,
                "n": len(here),
                "strange": _strange(here),
                "hidden": hidden,
                "tokens": tokens,
            }
        )
    return told
