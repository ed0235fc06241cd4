"""How a run looks in a terminal: a live table while it runs, a line now and then elsewhere."""

import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flows.board import Board, Line
from models.schema import HISTORY
from operators.messages import SECOND, Action
from operators.metrics import timers

REFRESH = 4.0  # a second; more would take time from the engine
LINE_EVERY = 5.0  # seconds between lines where there is no terminal
STYLES = {Action.BUY: "bold green", Action.SELL: "bold red", Action.HOLD: "dim"}
FIXED_ROWS = 17  # of the view, beside the symbols' own


class View:
    """Show a board while the engine runs; use it as a context manager.

    The view has a thread of its own, so the dataflow keeps the main one, where signals of
    the system arrive. Without a terminal it prints a line every few seconds instead.
    """

    def __init__(self, board: Board, console: Console, title: str) -> None:
        self.board = board
        self.console = console
        self.title = title
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Start showing."""
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self._live = Live(
                console=self.console,
                get_renderable=self.render,
                refresh_per_second=REFRESH,
                transient=True,
            )
            self._live.start()
        else:
            self._thread = threading.Thread(target=self._lines, name="view", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop; a live view clears itself, so that the summary takes its place."""
        self._done.set()
        if self._live is not None:
            self._live.stop()
        if self._thread is not None:
            self._thread.join()

    def _lines(self) -> None:
        while not self._done.wait(LINE_EVERY):
            self.console.print(self.status(), soft_wrap=True)

    def render(self) -> RenderableType:
        """Return the whole picture, no higher than the screen."""
        room = max(self.console.height - FIXED_ROWS, 3)
        lines = self.board.order()
        parts: list[RenderableType] = [
            self._heading(),
            self._bar(),
            signal_table(lines[:room]),
        ]
        if len(lines) > room:
            parts.append(Text(f"  and {len(lines) - room} more", style="dim"))
        parts += [self._counts(), *self._news(), latency_table()]
        return Group(*parts)

    def status(self) -> Text:
        """Return the run's state as one line."""
        seen, pace = self.board.seen, self.board.pace()
        parts = [
            moment(seen.ts_close) if seen.ts_close else "reading",
            "" if pace is None else f"{pace:,.1f}x",
            f"{seen.bars:,} bars",
            f"{seen.ready}/{seen.symbols} symbols ready" if seen.symbols else "",
            ", ".join(f"{count:,} {action}" for action, count in sorted(seen.actions.items())),
            f"{seen.rejected.total():,} rejected" if seen.rejected else "",
        ]
        return Text(" | ".join(part for part in parts if part))

    def _heading(self) -> Text:
        seen, pace = self.board.seen, self.board.pace()
        text = Text(self.title, style="bold", no_wrap=True, overflow="ellipsis")
        if seen.ts_close:
            text.append(f"  {moment(seen.ts_close)}", style="cyan not bold")
        if pace is not None:
            text.append(f"  {pace:,.1f}x", style="not bold")
        return text

    def _bar(self) -> RenderableType:
        seen, share = self.board.seen, self.board.progress()
        grid = Table.grid(expand=True, padding=(0, 1))
        grid.add_column(ratio=1)
        grid.add_column(justify="right", no_wrap=True)
        warm = max(seen.bars_of_symbol.values(), default=0)
        note = (
            f"warming up: {min(warm, HISTORY)} of {HISTORY} bars"
            if not seen.ready
            else f"{seen.ready} of {seen.symbols} symbols ready"
        )
        bar = ProgressBar(total=1.0, completed=share or 0.0, pulse=share is None)
        grid.add_row(bar, f"{'' if share is None else f'{share:.0%}, '}{note}")
        return grid

    def _counts(self) -> Text:
        seen = self.board.seen
        text = Text(no_wrap=False)
        text.append(f"{seen.bars:,} bars of {seen.market:,} ticks")
        if seen.rejected:
            worst = ", ".join(f"{n:,} {reason}" for reason, n in seen.rejected.most_common(3))
            text.append(f", rejected {worst}", style="yellow")
        if seen.gaps:
            text.append(f", {seen.gaps:,} gaps", style="yellow")
        if seen.filled or seen.unfilled or seen.switches:
            done = f", holes: {seen.filled:,} filled, {seen.unfilled:,} not"
            text.append(done, style="yellow" if seen.unfilled else "")
            if seen.switches:
                text.append(f", {seen.switches:,} changes of feed", style="yellow")
        if holes := list(seen.holes.values()):
            waiting = sorted({f"{hole.feed} {hole.cause}" for hole in holes})
            text.append(f", {len(holes):,} open ({', '.join(waiting)})", style="bold white on red")
        text.append("\nsignals ")
        for number, action in enumerate(Action):
            text.append(", " * bool(number))
            text.append(f"{seen.actions[action]:,} {action}", style=STYLES[action])
        if seen.judged:
            text.append(f", hit rate {seen.hits / seen.judged:.1%} of {seen.judged:,}")
        if seen.portfolio is not None and seen.capital:
            gain = seen.portfolio.equity / seen.capital - 1.0
            held = seen.portfolio.buy_and_hold / seen.capital - 1.0
            text.append("\npaper equity ")
            text.append(f"{seen.portfolio.equity:,.2f}", style="bold")
            text.append(f" ({gain:+.3%} after costs", style="green" if gain >= 0 else "red")
            text.append(f", buy and hold {held:+.3%})")
            if seen.portfolio.stopped:
                text.append("  STOPPED", style="bold white on red")
        return text

    def _news(self) -> list[Text]:
        seen = self.board.seen
        news = []
        if seen.mood is not None:
            news.append(Text(f"Fear & Greed {seen.mood:.0f} of 100", style="magenta"))
        for headline, tone in reversed(seen.headlines):
            text = Text(no_wrap=True, overflow="ellipsis")
            text.append(f"{tone:+.2f} ", style=tinted(tone))
            text.append(printable(headline))
            news.append(text)
        return news


def signal_table(lines: list[Line]) -> Table:
    """Return the signals, one row a symbol; fits into 80 columns."""
    table = Table(box=None, padding=(0, 1), header_style="dim", expand=False)
    table.add_column("symbol", no_wrap=True, max_width=12)
    for name in ("price", "forecast", "policy", "news", "score", "conf"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("action", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    for line in lines:
        signal = line.signal
        table.add_row(
            Text(printable(signal.symbol)),
            price(signal.price),
            *(leg(line.legs.get(name)) for name in ("forecast", "policy", "sentiment")),
            leg(signal.score),
            f"{signal.confidence:.2f}",
            Text(signal.action, style=STYLES[signal.action]),
            f"{signal.target_position:+.1%}" if signal.target_position else "flat",
        )
    return table


def latency_table() -> Table:
    """Return p50 and p99 of every stage of this process, three stages to a row."""
    cells = [
        Text.assemble(
            (f"{name} ", "dim"),
            f"{milliseconds(timer.quantile_ms(0.5))}/{milliseconds(timer.quantile_ms(0.99))}",
        )
        for name, timer in timers().items()
        if timer.count
    ]
    grid = Table.grid(padding=(0, 2))
    grid.title = "milliseconds, p50/p99" if cells else None
    grid.title_justify = "left"
    grid.title_style = "dim"
    for begin in range(0, len(cells), 3):
        grid.add_row(*cells[begin : begin + 3])
    return grid


def printable(text: str) -> str:
    r"""Return text from outside without what could steer a terminal.

    >>> printable("up \x1b[2J 5 %")
    'up  [2J 5 %'
    """
    return "".join(each if each.isprintable() else " " for each in text)


def milliseconds(value: float) -> str:
    """Return a duration with three digits at most.

    >>> milliseconds(0.0013), milliseconds(0.159), milliseconds(13.0), milliseconds(1234.5)
    ('0.001', '0.159', '13.0', '1234')
    """
    return f"{value:.3f}" if value < 1.0 else f"{value:.1f}" if value < 100.0 else f"{value:.0f}"


def leg(value: float | None) -> Text:
    """Return a value in [-1, 1] with its sign and colour; a leg that abstains is a dot."""
    return (
        Text("·", style="dim")
        if value is None
        else Text(f"{round(value, 2) + 0.0:+.2f}", style=tinted(value))
    )


def tinted(value: float) -> str:
    """Return the colour of a bullish, bearish or indifferent value."""
    return "green" if value >= 0.005 else "red" if value <= -0.005 else "dim"


def price(value: float) -> str:
    """Return a price with about six digits.

    >>> price(60714.18), price(0.1234567), price(31.5)
    ('60,714.18', '0.123457', '31.5000')
    """
    return f"{value:,.2f}" if value >= 1000 else f"{value:.4f}" if value >= 1 else f"{value:.6f}"


def moment(nanoseconds: int) -> str:
    """Return a time to the second.

    >>> moment(1_723_161_600 * 10**9)
    '2024-08-09 00:00:00Z'
    """
    return datetime.fromtimestamp(nanoseconds // SECOND, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
