"""Summaries, explanations and metrics as people read them."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from flows.terminal import STYLES, printable
from operators.messages import Action


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """Print what a run did; see `flows.summary.summarise` for the keys."""
    console.print(summary_view(summary))


def summary_view(summary: dict[str, Any]) -> RenderableType:
    """Return the summary as rows of a name and what is to be said; fits into 80 columns."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    table.add_row("ticks in", Text(f"{summary['ticks_in']:,}", style="bold"))
    table.add_row("accepted", f"{summary['accepted']:,}")
    table.add_row("rejected", Text(counted(summary["rejected"])))
    table.add_row("late", f"{summary['late']:,}{_share(summary['late'], summary['ticks_in'])}")
    if summary["unaccounted"]:
        table.add_row("unaccounted", f"{summary['unaccounted']:,}")
    if summary["ignored"]:
        table.add_row("other messages", Text(counted(summary["ignored"])))
    if summary.get("forgotten"):
        table.add_row("past retention", f"{summary['forgotten']:,}, not counted above or below")
    table.add_row("gaps", f"{summary['gaps']:,}")
    for name, text in loss_lines(summary.get("data_loss")):
        table.add_row(name, text)
    table.add_row("bars", counted(summary["bars"]))
    if summary["headlines"]:
        table.add_row("headlines", f"{summary['headlines']:,}")
    table.add_row("signals", _signals(summary))
    table.add_row("held by", counted(summary["held_by"]))
    table.add_row("leg weights", _weights(summary["effective_weights"]))
    table.add_row("hit rate", _hit_rate(summary["hit_rate"]))
    for name, said in _model_lines(summary):
        table.add_row(name, said)
    table.add_row("paper P&L", _pnl(summary["pnl"]))
    if summary["var"]["max_var_95"] is not None:
        table.add_row("value at risk", _var(summary["var"]))
    table.add_row("time", f"{summary['seconds']:,.1f} s")
    title = "Summary" if summary["finished"] else "Summary of a run that is not finished"
    if summary.get("simulated"):
        title += ", of a simulated market"
    parts: list[RenderableType] = [Rule(title, align="left"), table]
    if feeds := summary.get("feeds"):
        parts.append(feed_table(feeds))
    return Group(*parts, stage_table(summary["stages"]))


def loss_lines(loss: dict[str, Any] | None) -> Iterator[tuple[str, Text]]:
    """Yield what was lost, as (name, sentence); see `flows.ledger.totals` for the keys."""
    if loss is None:
        return
    verdict = "within" if loss["within"] else "over"
    yield (
        "data lost",
        Text(
            f"{loss['missing']:,} of {loss['used'] + loss['missing']:,} trades, "
            f"{loss['share']:.3%}: {verdict} the budget of {loss['budget']:.0%}",
            style="" if loss["within"] else "bold red",
        ),
    )
    if loss["holes"]:
        untold = loss["holes_without_ids"]
        yield (
            "holes",
            Text(
                f"{counted(loss['holes'])} ({counted(loss['causes'])}); "
                f"{loss['fetched_trades']:,} trades fetched"
                + (f"; of {untold:,} no id tells what is missing" if untold else "")
            ),
        )
        by_feed = ", ".join(
            f"{printable(feed)} {seconds:,.1f} s"
            for feed, seconds in loss["outage_seconds"].items()
        )
        spans = [
            f"{name} after {span['mean']:,.1f} s on average, {span['max']:,.1f} s at most"
            for name, span in (
                ("back", loss["back_seconds"]),
                ("resolved", loss["resolved_seconds"]),
            )
            if span["n"]
        ]
        yield "outages", Text("; ".join([by_feed, *spans]))
    if loss.get("repaired_bars"):
        bars, trades = loss["repaired_bars"], loss["merged_trades"]
        yield "repaired", Text(f"{bars:,} bars that had closed, with {trades:,} trades more")
    if loss.get("switches"):
        covered = loss["covered"]
        text = f"{loss['switches']:,} from one feed to another"
        yield "switches", Text(text + (f", {covered:,} messages covered" if covered else ""))


def feed_table(feeds: list[dict[str, Any]]) -> Table:
    """Return how each feed does: state, counts that are worth a look, and lag."""
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("feed", no_wrap=True, max_width=14)
    table.add_column("state", no_wrap=True)
    for name in ("messages", "reconnects", "lag s"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("note")
    for feed in feeds:
        lag = feed["gauges"].get("lag_seconds")
        state = str(feed["state"])
        table.add_row(
            Text(printable(feed["feed"])),
            Text(printable(state), style="green" if state in {"up", "quiet"} else "red"),
            f"{feed['counts'].get('messages', 0):,}",
            f"{feed['counts'].get('reconnects', 0):,}",
            "" if lag is None else f"{lag:.3f}",
            Text(printable(feed["note"])),
        )
    return table


def stage_table(stages: dict[str, dict[str, float]]) -> Table:
    """Return p50 and p99 of each stage, two stages to a row."""
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for _ in range(2):
        table.add_column("stage", no_wrap=True)
        table.add_column("p50 ms", justify="right", no_wrap=True)
        table.add_column("p99 ms", justify="right", no_wrap=True)
        table.add_column("   ")
    cells = [
        (name, f"{each['p50_ms']:.3f}", f"{each['p99_ms']:.3f}", "")
        for name, each in stages.items()
    ]
    half = (len(cells) + 1) // 2
    for row in range(half):
        right = cells[half + row] if half + row < len(cells) else ()
        table.add_row(*cells[row], *right)
    return table


def counted(counts: dict[str, int]) -> str:
    """Return counts as a sentence, the largest first.

    >>> counted({"quiet": 2, "observed": 1200})
    '1,200 observed, 2 quiet'
    >>> counted({})
    'none'
    """
    largest = sorted(counts.items(), key=lambda each: -each[1])
    return ", ".join(f"{count:,} {printable(name)}" for name, count in largest) or "none"


def _share(part: int, whole: int) -> str:
    return f" ({part / whole:.3%})" if whole else ""


def _signals(summary: dict[str, Any]) -> Text:
    text = Text()
    for action in Action:
        count = summary["signals"].get(action, 0)
        text.append(f"{count:,} {action}", style=STYLES[action])
        text.append(", ")
    return text.append(f"{summary['approved']:,} approved")


def _weights(weights: dict[str, float]) -> str:
    return ", ".join(f"{name} {weight:.2f}" for name, weight in weights.items()) or "no leg spoke"


def _hit_rate(hits: dict[str, Any]) -> str:
    if not hits["n"]:
        return "no outcome yet"
    low, high = hits["interval"]
    return f"{hits['value']:.1%} of {hits['n']:,} outcomes (95 %: {low:.1%} to {high:.1%})"


def _model_lines(summary: dict[str, Any]) -> Iterator[tuple[str, RenderableType]]:
    """Yield how the forecast's intervals held, and how old the models are."""
    if intervals := summary.get("intervals"):
        yield "intervals", _intervals(intervals)
    if models := summary.get("models"):
        yield "models' age", _ages(models)


def _intervals(intervals: dict[str, Any]) -> str:
    if not intervals["n"]:
        return "none is due yet"
    low, high = intervals["interval"]
    return (
        f"{intervals['coverage']:.1%} of {intervals['n']:,} returns within, promised "
        f"{intervals['promised']:.0%} (95 %: {low:.1%} to {high:.1%})"
    )


def _ages(models: dict[str, dict[str, Any]]) -> Text:
    text = Text()
    for name, model in models.items():
        stale = ", stale" if model["stale"] else ""
        text.append(", " if text else "").append(
            f"{name} {model['age_days']:,} days{stale}", style="yellow" if stale else ""
        )
    return text


def _pnl(pnl: dict[str, Any]) -> str:
    return (
        f"{pnl['return']:+.3%} after costs of {pnl['costs']:.3%} in {pnl['trades']:,} trades; "
        f"buy and hold {pnl['buy_and_hold']:+.3%}; worst drawdown {pnl['max_drawdown']:.3%}"
    )


def _var(var: dict[str, Any]) -> str:
    parts = [f"at most {var['max_var_95']:.3%} (95 %), {var['max_var_99']:.3%} (99 %) of equity"]
    for level, test in (var["kupiec"] or {}).items():
        if test["observations"] and test["p_value"] is not None:
            parts.append(
                f"{level}: {test['exceptions']} of {test['observations']} spans beyond it, "
                f"Kupiec p = {test['p_value']:.2f}"
            )
    return "; ".join(parts)
