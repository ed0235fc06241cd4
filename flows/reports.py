"""Summaries, explanations and metrics as people read them."""

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
    table.add_row("gaps", f"{summary['gaps']:,}")
    table.add_row("bars", counted(summary["bars"]))
    if summary["headlines"]:
        table.add_row("headlines", f"{summary['headlines']:,}")
    table.add_row("signals", _signals(summary))
    table.add_row("held by", counted(summary["held_by"]))
    table.add_row("leg weights", _weights(summary["effective_weights"]))
    table.add_row("hit rate", _hit_rate(summary["hit_rate"]))
    table.add_row("paper P&L", _pnl(summary["pnl"]))
    if summary["var"]["max_var_95"] is not None:
        table.add_row("value at risk", _var(summary["var"]))
    table.add_row("time", f"{summary['seconds']:,.1f} s")
    title = "Summary" if summary["finished"] else "Summary of a run that is not finished"
    return Group(Rule(title, align="left"), table, stage_table(summary["stages"]))


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
