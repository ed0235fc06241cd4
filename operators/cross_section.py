"""All symbols of a shard at one bar close, as arrays in the universe's order."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import msgspec
import numpy as np

from models.schema import FEATURES, WINDOW
from operators.frozen import Migration
from operators.messages import SECOND, CrossSection, Features, Notice, Repaired


class CrossSectionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What every cross-section of the shard carries."""

    interval_ns: int = SECOND
    shard: int = 0


@dataclass(slots=True)
class CrossSectionState:
    """Bar closes that some symbols have yet to deliver, and what none of them has taken yet."""

    pending: dict[int, dict[str, Features]] = field(default_factory=dict)  # by ts_close
    notices: list[Notice] = field(default_factory=list)
    repaired: list[Repaired] = field(default_factory=list)


class CrossSections:
    """Collect one `Features` of each symbol, then emit the `CrossSection`, in time order.

    A notice is known to the first cross-section that closes after the Clock it stood behind;
    it rides one symbol's path, so it is here before that symbol completes. So does what was
    repaired, for the cross-section that may know it. Other messages pass through.

    >>> stage = CrossSections(CrossSectionSettings(), ("BTCUSDT", "ETHUSDT"))
    >>> def features(symbol):
    ...     return Features(symbol=symbol, ts_close=SECOND, bar=None, window=None,
    ...                     volatility=0.0, ready=False)
    >>> stage.on(features("ETHUSDT"))
    ()
    >>> [cross] = stage.on(features("BTCUSDT"))
    >>> cross.symbols, cross.features.shape[0], cross.ready.tolist()
    (('BTCUSDT', 'ETHUSDT'), 2, [False, False])
    """

    # Orders have gained fields since, which are absent in those of before.
    migrations: ClassVar[dict[str, Migration]] = {"1-9b5058690401": Migration(lambda state: state)}

    def __init__(self, settings: CrossSectionSettings, symbols: tuple[str, ...]) -> None:
        """Take the universe in its fixed order."""
        self.settings = settings
        self.symbols = symbols
        self.state = CrossSectionState()

    def on(self, message: Any) -> Iterable[Any]:
        """Answer the last symbol's `Features` with the cross-section."""
        if isinstance(message, Notice):
            self.state.notices.append(message)
            return ()
        if isinstance(message, Repaired):
            self.state.repaired.append(message)
            return ()
        if not isinstance(message, Features):
            return (message,)
        delivered = self.state.pending.setdefault(message.ts_close, {})
        delivered[message.symbol] = message
        if len(delivered) < len(self.symbols):
            return ()
        # Each symbol delivers in time order, so an earlier close cannot still be open.
        del self.state.pending[message.ts_close]
        return (self._complete(message.ts_close, delivered),)

    def on_end(self) -> Iterable[Any]:
        """Report nothing: an incomplete cross-section is none."""
        return ()

    def _complete(self, ts_close: int, delivered: dict[str, Features]) -> CrossSection:
        rows = [delivered[symbol] for symbol in self.symbols]
        features = np.zeros((len(rows), WINDOW, len(FEATURES)), np.float32)
        for index, row in enumerate(rows):
            if row.window is not None:
                features[index] = row.window
        return CrossSection(
            shard=self.settings.shard,
            ts_close=ts_close,
            interval=self.settings.interval_ns,
            symbols=self.symbols,
            bars=tuple(row.bar for row in rows),
            features=features,
            volatility=np.array([row.volatility for row in rows]),
            ready=np.array([row.ready for row in rows]),
            notices=self._known(ts_close),
            repaired=self._repaired(ts_close),
        )

    def _known(self, ts_close: int) -> tuple[Notice, ...]:
        """Take the notices that this bar close may know, in the log's order."""
        state = self.state
        known = [notice for notice in state.notices if notice.after < ts_close]
        state.notices = [notice for notice in state.notices if notice.after >= ts_close]
        return tuple(sorted(known, key=lambda notice: notice.offset))

    def _repaired(self, ts_close: int) -> tuple[Repaired, ...]:
        """Take the repairs that this bar close may know, by symbol."""
        state = self.state
        if not state.repaired:
            return ()
        known = [repaired for repaired in state.repaired if repaired.known_at <= ts_close]
        state.repaired = [repaired for repaired in state.repaired if repaired.known_at > ts_close]
        return tuple(sorted(known, key=lambda repaired: (repaired.symbol, repaired.known_at)))
