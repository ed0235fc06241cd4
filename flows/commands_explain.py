"""`nextgen explain`: a signal with everything it was made of, for a person to follow."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console, Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from connectors.sinks.store import open_store
from flows.explain import Explanation, explain
from flows.terminal import STYLES, moment, price, printable
from operators.errors import ExplanationError
from operators.messages import Control, Mood, ScoredHeadline


def print_explanation(path: Path, signal_id: str, *, as_json: bool) -> bool:
    """Print why a signal was given; return whether it came out equal again."""
    with closing(open_store(path, readonly=True)) as store:
        explanation = explain(store, full_id(store, signal_id))
    if as_json:
        print(msgspec.json.encode(explanation).decode())  # noqa: T201 - the output
    else:
        Console().print(explanation_view(explanation))
    return explanation.difference is None


def full_id(store: sqlite3.Connection, start: str) -> str:
    """Return the one signal id that begins with `start`.

    Raises:
        ExplanationError: none does, or several do.
    """
    found = [
        row["signal_id"]
        for row in store.execute(
            "SELECT signal_id FROM signals WHERE substr(signal_id, 1, ?) = ? LIMIT 2",
            (len(start), start),
        )
    ]
    if len(found) == 1:
        return str(found[0])
    if found:
        raise ExplanationError(f"several signals begin with '{start}'; give more of the id")
    some = store.execute(
        "SELECT signal_id FROM signals ORDER BY action = 'HOLD' LIMIT 1"
    ).fetchone()
    hint = "it holds none at all" if some is None else f"one it holds is {some['signal_id']}"
    raise ExplanationError(f"the store has no signal '{start}'; {hint}")


def explanation_view(explanation: Explanation) -> RenderableType:
    """Return an explanation as a person reads it, from the bars to the decision."""
    signal = explanation.signal
    verdict = (
        Text("recomputed: equal", style="bold green")
        if explanation.difference is None
        else Text(f"recomputed: differs in {explanation.difference}", style="bold red")
    )
    parts: list[RenderableType] = [
        _decision(explanation),
        Rule("Bars", align="left"),
        _bars(explanation),
        Rule(f"Features of the last bar ({len(explanation.features)})", align="left"),
        _features(explanation.features),
    ]
    if explanation.notices:
        parts += [Rule("Headlines and moods known then", align="left"), _notices(explanation)]
    parts += [
        Rule("Legs", align="left"),
        _legs(signal.detail["legs"]),
        Rule("Risk", align="left"),
        _risk(signal.detail["risk"]),
        Rule("Made by", align="left"),
        _made_by(explanation),
        verdict,
    ]
    return Group(*parts)


def _decision(explanation: Explanation) -> Text:

    signal = explanation.signal
    text = Text(f"{printable(signal.symbol)} at {moment(signal.ts_close)}: ")
    text.append(str(signal.action), style=STYLES[signal.action])
    text.append(f" at {price(signal.price)}, score {signal.score:+.3f}, ")
    text.append(f"confidence {signal.confidence:.3f}, target {signal.target_position:+.2%}, ")
    text.append("approved" if signal.approved else "not approved")
    if signal.reasons:
        text.append(f"\nbecause of {', '.join(signal.reasons)}")
    return text.append(f"\nsignal {signal.signal_id}", style="dim")


def _bars(explanation: Explanation) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for name in ("close of", "open", "high", "low", "close", "volume", "trades", "quality"):
        table.add_column(name, no_wrap=True, justify="right")
    for bar in explanation.bars:
        prices = (price(each) for each in (bar.open, bar.high, bar.low, bar.close))
        time_of_day = moment(bar.ts_close)[11:19]
        table.add_row(time_of_day, *prices, f"{bar.volume:.4g}", str(bar.trades), str(bar.quality))
    return table


def _features(features: dict[str, float]) -> Table:
    table = Table.grid(padding=(0, 2))
    cells = [(name, f"{value:+.4f}") for name, value in features.items()]
    half = (len(cells) + 1) // 2
    for row in range(half):
        right = cells[half + row] if half + row < len(cells) else ("", "")
        table.add_row(*cells[row], *right)
    return table


def _notices(explanation: Explanation) -> Table:

    table = Table.grid(padding=(0, 2))
    for notice in explanation.notices:
        match notice.body:
            case ScoredHeadline() as scored:
                value = f"{scored.positive - scored.negative:+.2f}"
                table.add_row(value, Text(printable(scored.headline.text)))
            case Mood() as mood:
                source = Text(f"mood of {printable(mood.source)}, 0 to 100")
                table.add_row(f"{mood.value:.0f}", source)
            case Control() as control:
                order = Text(printable(f"by {control.actor}: {control.reason}"))
                table.add_row(control.kind, order)
            case _:
                continue
    return table


def _legs(legs: dict[str, dict[str, Any]]) -> RenderableType:
    """Return what each leg said and how much it counted, then the numbers behind it."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("leg", no_wrap=True)
    for name in ("value", "certainty", "skill", "confidence", "weight"):
        table.add_column(name, justify="right", no_wrap=True)
    details = Table.grid(padding=(0, 2))
    for name, leg in legs.items():
        figures = (leg.get(key) for key in ("certainty", "skill", "confidence", "weight"))
        said = "abstains" if leg.get("abstains") else f"{leg['value']:+.4f}"
        table.add_row(name, said, *("" if each is None else f"{each:.4f}" for each in figures))
        numbers = (
            f"{key} {'unknown' if each is None else format(each, '.4g')}"
            for key, each in leg.get("detail", {}).items()
        )
        details.add_row(name, ", ".join(numbers))
    return Group(table, Text(), details)


def _risk(steps: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("step", no_wrap=True)
    table.add_column("before", justify="right", no_wrap=True)
    table.add_column("after", justify="right", no_wrap=True)
    table.add_column("why")
    for step in steps:
        changed = step["before"] != step["after"]
        table.add_row(
            step["step"],
            f"{step['before']:+.2%}",
            f"{step['after']:+.2%}",
            str(step.get("why") or ""),
            style=None if changed else "dim",
        )
    return table


def _made_by(explanation: Explanation) -> Table:

    table = Table.grid(padding=(0, 2))
    for model in explanation.models:
        table.add_row("model", model)
    settings = explanation.settings
    table.add_row("configuration", f"{settings.config_hash} (profile {settings.profile})")
    start = explanation.checkpoint
    begin = f"the checkpoint of {moment(start)}" if start else "the beginning of the run"
    table.add_row("decided again from", begin)
    if explanation.simulated:
        table.add_row("market", "simulated")
    return table
