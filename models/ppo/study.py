"""What the shipped policies rest on: how long an edge lasts, and which rules let it pay.

    python -m models.ppo.study --interval 1m --data DIR --cache DIR

Prints three tables in Markdown. The first asks for any edge, before any policy: a ridge
regression on the policy's features, walk-forward over the sessions before the test split, by
horizon and by when an order is filled. The second tries holding periods and no-trade bands on
the shipped policy, on validation sessions; it needs no training. The third holds the shipped
rules against each baseline on the test split.
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from models import runtime
from models.context import relative_bars
from models.datasets import SymbolBars
from models.features import Floats
from models.lstm_transformer.forecaster import Forecaster
from models.lstm_transformer.samples import HORIZONS, RELATIVE, SOURCES, nanoseconds
from models.ppo.actor import Actor
from models.ppo.evaluation import COMPARED, evaluate, measure
from models.ppo.market import Market, delayed, hedged, market_of
from models.ppo.replay import replay
from models.ppo.rules import NEVER_CLOSES, Flags, Integers, PositionRules
from models.ppo.splits import assemble
from models.schema import WINDOW
from models.statistics import days_of, hours_of, ic

HOLDINGS = {"1m": (5, 15, 30, 60), "1s": (10, 60, 300)}  # bars
BANDS = (0.05, 0.4, 0.8, 0.9)
REACHES = {"1m": (5, 15, 30, 60, 120), "1s": (10, 60, 300, 1_200)}  # bars held
DELAYS = {"1m": (0, 1, 5), "1s": (0, 1, 10)}  # bars until an order is filled
FOLDS = 4
RIDGE = 10_000.0
SURE = 0.9  # an edge is asked of the tenth of scores that are largest
CLIP = 4.0  # deviations of a target


def reached(market: Market, horizon: int, delay: int) -> tuple[Floats, Flags]:
    """Return the log return of `horizon` bars that begins `delay` bars later, and where it exists.

    Both (rows,).
    """
    moved = np.log1p(delayed(market, delay).next_return)
    total = np.r_[0.0, moved.cumsum()]
    rows = np.arange(len(moved))
    end = np.minimum(rows + horizon, len(moved))
    left = market.session_left
    known = market.ready & ((left == NEVER_CLOSES) | (left >= horizon + delay))
    known &= market.symbol_of[np.minimum(rows + horizon + delay, len(rows) - 1)] == market.symbol_of
    known &= rows + horizon + delay < len(rows)
    return total[end] - total[:-1], known


def lasting(
    bars: Mapping[str, SymbolBars], interval: str, until: int
) -> Iterator[tuple[int, int, list[float], list[float]]]:
    """Yield horizon, delay, and the IC and edge (bp) of each fold, of bars up to `until` (ns).

    Folds are the last four of five equal parts by time, each foretold from all before it less an
    embargo of a window and the horizon. The edge is the mean return with the sign of the score
    where that is among its largest tenth; a round trip costs twice the cost of a side.
    """
    read = relative_bars(bars) if RELATIVE[interval] else bars
    market = market_of(read, until=until)
    # What is read against the market is held against it.
    earning = hedged(market) if RELATIVE[interval] else market
    days = days_of(market.ts_close)
    part = days if days.max() + 1 > 2 * FOLDS else hours_of(market.ts_close)
    fold_of = (part * (FOLDS + 1)) // (part.max() + 1)
    step = int(np.median(np.diff(np.unique(market.ts_close))))
    for horizon in REACHES[interval]:
        for delay in DELAYS[interval]:
            moved, known = reached(earning, horizon, delay)
            scale = np.maximum(market.volatility * np.sqrt(horizon), 1e-5)
            target = np.clip(moved / scale, -CLIP, CLIP)
            found = []
            for fold in range(1, FOLDS + 1):
                asked = np.flatnonzero(known & (fold_of == fold))
                first = market.ts_close[asked].min() - (WINDOW + horizon + delay) * step
                fitted = np.flatnonzero(known & (market.ts_close < first))[::5]
                score = _ridge(market, fitted, asked, target)
                large = np.abs(score) >= np.quantile(np.abs(score), SURE)
                edge = (np.sign(score) * moved[asked])[large].mean() * 1e4
                found.append((ic(score, target[asked]), float(edge)))
            yield horizon, delay, [each[0] for each in found], [each[1] for each in found]


def _ridge(market: Market, fitted: Integers, asked: Integers, target: Floats) -> Floats:
    """Return the scores of `asked` rows by a regression on `fitted` rows."""
    mean = market.features[fitted].mean(0, dtype=np.float64)
    scale = np.maximum(market.features[fitted].std(0, dtype=np.float64), 0.1)

    def standard(rows: Integers) -> Floats:
        out: Floats = np.clip((market.features[rows] - mean) / scale, -5.0, 5.0)
        return out

    inputs = standard(fitted)
    gram = inputs.T @ inputs + RIDGE * np.eye(inputs.shape[1])
    out: Floats = standard(asked) @ np.linalg.solve(gram, inputs.T @ target[fitted])
    return out


def tried(
    market: Market, actor: Actor, rules: PositionRules, interval: str
) -> Iterator[tuple[int, float, dict[str, Any]]]:
    """Yield holding period, no-trade band and figures of the policy under these rules."""
    for bars in HOLDINGS[interval]:
        for band in BANDS:
            other = msgspec.structs.replace(rules, min_holding_bars=bars, switching_margin=band)
            yield bars, band, measure(market, replay(market, actor.act, other), other)


def main() -> None:
    """Read the command line and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interval", choices=tuple(HORIZONS), required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder with the bars")
    parser.add_argument("--cache", type=Path, help="folder where features are kept")
    parser.add_argument("--models", type=Path, default=runtime.ONNX, help="folder of artefacts")
    args = parser.parse_args()
    interval = args.interval
    artefact = runtime.load(f"policy_{interval}", kind="policy", folder=args.models)
    forecast = runtime.load(f"forecast_{interval}", kind="forecast", folder=args.models)
    rules = msgspec.convert(artefact.entry["rules"], PositionRules)
    splits = assemble(interval, args.data, args.cache, longest=1_800)
    for source in SOURCES[interval]:
        bars, test = splits.bars[source.name], nanoseconds(source.cuts[-1])
        _print_lasting(source.name, lasting(bars, interval, test))
        market = splits.markets["validation"][source.name]
        _print_tried(source.name, tried(market, Actor(artefact), rules, interval))
        report = evaluate(
            bars,
            artefact,
            rules,
            allow_seen=False,
            forecaster=Forecaster(forecast),
            after=test,
            skip=WINDOW + HORIZONS[interval],
        )
        _print_beside(source.name, report)


def _print_lasting(name: str, lines: Iterator[tuple[int, int, list[float], list[float]]]) -> None:
    _head(f"{name}: edge before any policy", ("held", "filled after", "IC by fold", "edge, bp"))
    for horizon, delay, ics, edges in lines:
        by_fold = ", ".join(f"{each:.3f}" for each in ics)
        _row(f"{horizon} bars", delay, by_fold, ", ".join(f"{each:.1f}" for each in edges))


def _print_tried(name: str, lines: Iterator[tuple[int, float, dict[str, Any]]]) -> None:
    columns = ("held at least", "band", "turnover a day", "edge / cost, bp", "net", "net Sharpe")
    late = ("net, a bar late", "net Sharpe, a bar late")
    _head(f"{name}: rules on validation", (*columns, *late))
    for bars, band, found in lines:
        _row(
            f"{bars} bars",
            band,
            f"{found['turnover']:.1f}",
            f"{found['edge_bps']:.2f} / {found['cost_bps']:.2f}",
            percent(found["return"]),
            sharpe(found["sharpe"]),
            percent(found["return_filled_late"]),
            sharpe(found["sharpe_filled_late"]),
        )


def _print_beside(name: str, report: dict[str, Any]) -> None:
    blocks = f"{report['n']:,} bars, {report['blocks']['count']} {report['blocks']['kind']}s"
    columns = ("", "net", "net Sharpe", "net, a bar late", "net Sharpe, a bar late")
    _head(f"{name}: test, {blocks}", (*columns, "turnover a day", "drawdown"))
    own = {"policy": {key: report[key] for key in COMPARED}}
    for label, found in (own | report["baselines"]).items():
        _row(
            label.replace("_", " "),
            percent(found["return"]),
            sharpe(found["sharpe"]),
            percent(found["return_filled_late"]) if "return_filled_late" in found else "",
            sharpe(found["sharpe_filled_late"]) if "sharpe_filled_late" in found else "",
            f"{found['turnover']:.2f}",
            f"{found['max_drawdown']:.2%}",
        )


def percent(found: list[float]) -> str:
    """Return a total return with its interval.

    >>> percent([0.0114, -0.0184, 0.0446])
    '1.14 % (-1.84 to 4.46)'
    """
    estimate, low, high = (each * 100.0 for each in found)
    return f"{estimate:.2f} % ({low:.2f} to {high:.2f})"


def sharpe(found: list[float]) -> str:
    """Return a Sharpe ratio with its interval.

    >>> sharpe([17.44, 6.21, 28.98])
    '17.4 (6.2 to 29.0)'
    """
    estimate, low, high = found
    return f"{estimate:.1f} ({low:.1f} to {high:.1f})"


def _head(title: str, columns: tuple[str, ...]) -> None:
    print(f"\n{title}\n")  # noqa: T201 - the output
    _row(*columns)
    _row(*("---" for _ in columns))


def _row(*cells: Any) -> None:
    print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)  # noqa: T201 - the output


if __name__ == "__main__":
    main()
