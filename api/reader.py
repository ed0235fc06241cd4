"""What the API asks of a store, in the store's own rows."""

import base64
import binascii
from typing import Any

import msgspec

from api.memo import Memo
from api.rows import Row, Rows
from operators.errors import EngineError

EVER = 2**63 - 1  # the last time there is, UNIX ns
HOUR = 3600 * 10**9

_SIGNAL = (
    "signal_id, symbol, ts_close, interval, action, score, confidence, target_position, approved,"
    " price, reasons, detail"
)


class BadCursor(EngineError):
    """A cursor that this API has not given."""


def cursor_of(*place: int | str) -> str:
    """Return a place in a listing as text that means nothing to anybody else.

    >>> place_of(cursor_of(5, "BTCUSDT"), int, str)
    (5, 'BTCUSDT')
    """
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def place_of(cursor: str, *kinds: type) -> tuple[Any, ...]:
    """Return the place that a cursor means. Raises BadCursor if it is none of ours."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        place = msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise BadCursor("the cursor is none that this API has given") from error
    if not isinstance(place, list) or [type(each) for each in place] != list(kinds):
        raise BadCursor("the cursor is of another listing")
    if any(isinstance(each, int) and not 0 <= each <= EVER for each in place):
        raise BadCursor("the cursor is none that this API has given")
    return tuple(place)


class Reader:
    """Questions to a store; times are UNIX ns, bounds are inclusive."""

    def __init__(self, rows: Rows) -> None:
        """Ask `rows`."""
        self.rows = rows
        # Thousands of rows, which every page that opens asks for.
        self._closes = Memo[dict[str, list[Row]]]()

    # ------------------------------------------------------------------ the run

    def run(self) -> Row | None:
        """Return the run's row; None where the store does not keep it."""
        if self.rows.name != "sqlite":
            return None
        found = self.rows.read("SELECT * FROM runs ORDER BY started DESC LIMIT 1")
        return found[0] if found else None

    def run_id(self) -> str:
        """Return the run's id; "" where the store does not keep it."""
        row = self.run()
        return "" if row is None else str(row["run_id"])

    def feeds(self) -> list[Row]:
        """Return how each feed did last; none where the store does not keep it."""
        if self.rows.name != "sqlite":
            return []
        return self.rows.read("SELECT * FROM feeds ORDER BY feed")

    def newest(self, table: str = "bars") -> int | None:
        """Return the last bar close of a table, or None."""
        found = self.rows.read(f"SELECT max(ts_close) AS newest FROM {table}")  # noqa: S608 - ours
        newest: int | None = found[0]["newest"]
        return newest

    # --------------------------------------------------------------- the market

    def symbols(self) -> list[str]:
        """Return every symbol with a bar, sorted."""
        # From one symbol to the next by the key's index: a store holds millions of bars.
        found = self.rows.read(
            "WITH RECURSIVE each(symbol) AS (SELECT min(symbol) FROM bars UNION ALL "
            "SELECT (SELECT min(symbol) FROM bars WHERE symbol > each.symbol) FROM each "
            "WHERE each.symbol IS NOT NULL) SELECT symbol FROM each WHERE symbol IS NOT NULL"
        )
        return [str(row["symbol"]) for row in found]

    def bars(
        self,
        symbol: str,
        *,
        since: int = 0,
        until: int = EVER,
        limit: int,
        known_at: int | None = None,
        first: bool = False,
    ) -> list[Row]:
        """Return a symbol's last `limit` bars in [since, until], newest first.

        Each in the form known last, or up to `known_at`; with `first` as it closed.
        """
        found = self.rows.read(
            "SELECT * FROM bars WHERE symbol = ? AND ts_close BETWEEN ? AND ? "
            "ORDER BY ts_close DESC LIMIT ?",
            (symbol, since, until, limit),
        )
        if first or not found:
            return found
        later = self.rows.read(
            "SELECT * FROM repaired_bars WHERE symbol = ? AND ts_close BETWEEN ? AND ? "
            "AND known_at <= ? ORDER BY known_at",
            (symbol, found[-1]["ts_close"], found[0]["ts_close"], known_at or EVER),
        )
        known = {row["ts_close"]: row for row in [*found, *later]}
        return [known[ts_close] for ts_close in sorted(known, reverse=True)][:limit]

    def closes(self, symbols: list[str], bars: int, interval: int) -> dict[str, list[Row]]:
        """Return each symbol's closes over the last `bars` intervals, oldest first."""
        newest = self.newest()
        if newest is None:
            return {symbol: [] for symbol in symbols}
        after = newest - bars * interval
        return self._closes.get((newest, after, *symbols), lambda: self._closes_of(symbols, after))

    def _closes_of(self, symbols: list[str], after: int) -> dict[str, list[Row]]:
        closes: dict[str, list[Row]] = {symbol: [] for symbol in symbols}
        query = (
            "SELECT symbol, ts_close, close, quality FROM bars "
            "WHERE ts_close > ? ORDER BY ts_close, symbol"
        )
        for row in self.rows.read(query, (after,)):
            if row["symbol"] in closes:
                closes[row["symbol"]].append(row)
        return closes

    def bars_at(self, ts_close: int) -> list[Row]:
        """Return every symbol's bar of one close."""
        return self.rows.read("SELECT * FROM bars WHERE ts_close = ? ORDER BY symbol", (ts_close,))

    def closes_after(self, ts_close: int, limit: int) -> list[int]:
        """Return the bar closes behind `ts_close`, oldest first."""
        found = self.rows.read(
            "SELECT DISTINCT ts_close FROM bars WHERE ts_close > ? ORDER BY ts_close LIMIT ?",
            (ts_close, limit),
        )
        return [int(row["ts_close"]) for row in found]

    # -------------------------------------------------------------- the signals

    def latest_signals(self, symbols: list[str] | None = None) -> list[Row]:
        """Return each symbol's newest signal of the last hour, by symbol."""
        newest = self.newest("signals")
        if newest is None:
            return []
        rows = self.signals_at(newest)
        found = {row["symbol"]: row for row in rows}
        for symbol in set(symbols or self.symbols()) - found.keys():
            rows = self.signals(symbol=symbol, since=newest - HOUR, limit=1)
            found |= {row["symbol"]: row for row in rows}
        return [found[symbol] for symbol in sorted(found) if not symbols or symbol in symbols]

    def signals_at(self, ts_close: int) -> list[Row]:
        """Return the signals of one bar close, by symbol."""
        return self.rows.read(
            f"SELECT {_SIGNAL} FROM signals WHERE ts_close = ? ORDER BY symbol",  # noqa: S608
            (ts_close,),
        )

    def trades_between(self, after: int, until: int, limit: int) -> list[Row]:
        """Return the signals in (after, until] that bought or sold, oldest first."""
        return self.rows.read(
            f"SELECT {_SIGNAL} FROM signals WHERE ts_close > ? AND ts_close <= ? "  # noqa: S608
            "AND action <> 'HOLD' ORDER BY ts_close DESC, symbol DESC LIMIT ?",
            (after, until, limit),
        )[::-1]

    def signals(
        self,
        *,
        limit: int,
        symbol: str | None = None,
        action: str | None = None,
        approved: bool | None = None,
        since: int = 0,
        until: int = EVER,
        cursor: str | None = None,
    ) -> list[Row]:
        """Return signals, newest first, behind `cursor`."""
        query = f"SELECT {_SIGNAL} FROM signals WHERE ts_close BETWEEN ? AND ?"  # noqa: S608
        values: list[Any] = [since, until]
        if symbol is not None:
            query += " AND symbol = ?"
            values.append(symbol)
        if action is not None:
            query += " AND action = ?"
            values.append(action)
        if approved is not None:
            query += " AND approved = ?"
            values.append(int(approved))
        if cursor is not None:
            query += " AND (ts_close, symbol) < (?, ?)"
            values += place_of(cursor, int, str)
        return self.rows.read(
            query + " ORDER BY ts_close DESC, symbol DESC LIMIT ?", (*values, limit)
        )

    def signal(self, signal_id: str) -> Row | None:
        """Return one signal, or None."""
        found = self.rows.read(
            f"SELECT {_SIGNAL} FROM signals WHERE signal_id = ?",  # noqa: S608
            (signal_id,),
        )
        return found[0] if found else None

    def notices(
        self, *, limit: int, kinds: tuple[str, ...], before: int = EVER, known: int = EVER
    ) -> list[Row]:
        """Return notices whose offset is below `before` and that a close at `known` may know.

        Newest first.
        """
        marks = ", ".join("?" * len(kinds))
        return self.rows.read(
            f"SELECT * FROM notices WHERE kind IN ({marks}) AND log_offset < ? "  # noqa: S608
            'AND "after" < ? ORDER BY log_offset DESC LIMIT ?',
            (*kinds, before, known, limit),
        )

    # ------------------------------------------------------- portfolio, outcomes

    def portfolio(self, at: int | None = None) -> Row | None:
        """Return the portfolio after its last decision, or after that `at` a bar close."""
        bound = ("WHERE ts_close = ?", (at,)) if at is not None else ("", ())
        query = f"SELECT * FROM portfolio {bound[0]} ORDER BY ts_close DESC LIMIT 1"  # noqa: S608
        found = self.rows.read(query, bound[1])
        return found[0] if found else None

    def portfolios(self, *, since: int, until: int, every: int, limit: int) -> list[Row]:
        """Return the money of the portfolio at whole multiples of `every` ns, oldest first."""
        return self.rows.read(
            "SELECT ts_close, cash, equity, gross, net, drawdown, var_95, var_99, costs, trades,"
            " buy_and_hold, stopped FROM portfolio WHERE ts_close BETWEEN ? AND ?"
            " AND ts_close / ? * ? = ts_close ORDER BY ts_close DESC LIMIT ?",
            (since, until, every, every, limit),
        )[::-1]

    def outcome(self, signal_id: str) -> Row | None:
        """Return what came of one signal, or None."""
        found = self.rows.read("SELECT * FROM outcomes WHERE signal_id = ?", (signal_id,))
        return found[0] if found else None

    def outcomes(
        self,
        *,
        limit: int,
        symbol: str | None = None,
        since: int = 0,
        until: int = EVER,
        cursor: str | None = None,
    ) -> list[Row]:
        """Return outcomes of signals in [since, until], newest first, behind `cursor`."""
        # By way of the signals, which have an index by time.
        query = (
            "SELECT outcomes.* FROM signals JOIN outcomes ON outcomes.signal_id = "
            "signals.signal_id AND outcomes.ts_close = signals.ts_close "
            "WHERE signals.ts_close BETWEEN ? AND ?"
        )
        values: list[Any] = [since, until]
        if symbol is not None:
            query += " AND signals.symbol = ?"
            values.append(symbol)
        if cursor is not None:
            query += " AND (signals.ts_close, signals.symbol) < (?, ?)"
            values += place_of(cursor, int, str)
        return self.rows.read(
            query + " ORDER BY signals.ts_close DESC, signals.symbol DESC LIMIT ?",
            (*values, limit),
        )

    # ------------------------------------------------------- what was lost or refused

    def holes(self, *, limit: int, symbol: str | None, cursor: str | None) -> list[Row]:
        """Return what feeds told of times in which they lost messages, newest first."""
        return self._listed("holes", "ts_from", limit, symbol, cursor, key="feed")

    def gaps(self, *, limit: int, symbol: str | None, cursor: str | None) -> list[Row]:
        """Return trades that ids prove missing, newest first."""
        return self._listed("gaps", "ts_from", limit, symbol, cursor, key="venue")

    def _listed(
        self, table: str, time: str, limit: int, symbol: str | None, cursor: str | None, *, key: str
    ) -> list[Row]:
        query, values = f"SELECT * FROM {table} WHERE TRUE", []  # noqa: S608 - names are ours
        if symbol is not None:
            query += " AND symbol = ?"
            values.append(symbol)
        if cursor is not None:
            query += f" AND ({time}, symbol, {key}) < (?, ?, ?)"
            values += place_of(cursor, int, str, str)
        query += f" ORDER BY {time} DESC, symbol DESC, {key} DESC LIMIT ?"
        return self.rows.read(query, (*values, limit))

    def rejections(
        self, *, limit: int, symbol: str | None, reason: str | None, cursor: str | None
    ) -> list[Row]:
        """Return refused input, the last in the log first, without its payload."""
        query = (
            "SELECT log_offset, reason, symbol, ts_init, length(payload) AS payload_bytes "
            "FROM rejections WHERE TRUE"
        )
        values: list[Any] = []
        if symbol is not None:
            query += " AND symbol = ?"
            values.append(symbol)
        if reason is not None:
            query += " AND reason = ?"
            values.append(reason)
        if cursor is not None:
            query += " AND (log_offset, reason) < (?, ?)"
            values += place_of(cursor, int, str)
        return self.rows.read(
            query + " ORDER BY log_offset DESC, reason DESC LIMIT ?", (*values, limit)
        )

    def rejected(self) -> dict[str, int]:
        """Return how many were refused, by reason."""
        found = self.rows.read(
            "SELECT reason, count(*) AS n FROM rejections GROUP BY reason ORDER BY reason"
        )
        return {str(row["reason"]): int(row["n"]) for row in found}

    def tallies(self) -> dict[str, int]:
        """Return the stages' running counts, summed over their keys, by name.

        A model's age is no count: the oldest one's is told. Alerts that a limit has kept back are
        counted by their rules' names, which alone would say something else.
        """
        found = self.rows.read(
            "SELECT CASE WHEN key = 'alerts' THEN 'alerts_kept_back_' || name ELSE name END"
            " AS told, coalesce(CASE WHEN name = 'model_age_days' THEN max(count) ELSE sum(count)"
            " END, 0) AS n FROM tallies GROUP BY key = 'alerts', name ORDER BY told"
        )
        return {str(row["told"]): int(row["n"]) for row in found}
