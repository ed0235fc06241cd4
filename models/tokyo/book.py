"""A limit order book on the rungs of a day's price ladder; sizes are lots."""


class Book:
    """Resting orders, summed at each rung: bids up to `bid`, asks from `ask` on.

    `bid` is -1 and `ask` the number of rungs where a side is empty.

    >>> book = Book(10)
    >>> book.add(3, 5, buy=True); book.add(6, 2, buy=False); book.add(7, 4, buy=False)
    >>> book.bid, book.ask
    (3, 6)
    >>> book.take(9, buy=True), book.ask
    (2, 7)
    """

    def __init__(self, rungs: int) -> None:
        """Make an empty book."""
        self.rungs = rungs
        self.clear()

    def clear(self) -> None:
        """Forget every order."""
        self.lots = [0] * self.rungs
        self.bid, self.ask = -1, self.rungs

    def add(self, rung: int, lots: int, *, buy: bool) -> None:
        """Rest an order; it must not meet the other side."""
        self.lots[rung] += lots
        if buy:
            self.bid = max(self.bid, rung)
        else:
            self.ask = min(self.ask, rung)

    def take(self, lots: int, *, buy: bool) -> int:
        """Execute up to `lots` at the best price of the other side; return how many."""
        rung = self.ask if buy else self.bid
        return self.cancel(rung, lots)

    def cancel(self, rung: int, lots: int) -> int:
        """Take up to `lots` off a rung; return how many."""
        done = min(lots, self.lots[rung])
        self.lots[rung] -= done
        if self.lots[rung] == 0:
            if rung == self.ask:
                self._seek_ask()
            elif rung == self.bid:
                self._seek_bid()
        return done

    def withdraw(self, rung: int, *, buy: bool) -> None:
        """Drop the bids from `rung` up, or the asks from `rung` down."""
        if buy:
            for place in range(max(rung, 0), self.bid + 1):
                self.lots[place] = 0
            self._seek_bid()
        else:
            for place in range(self.ask, min(rung + 1, self.rungs)):
                self.lots[place] = 0
            self._seek_ask()

    def _seek_ask(self) -> None:
        ask, lots, rungs = self.ask, self.lots, self.rungs
        while ask < rungs and lots[ask] == 0:
            ask += 1
        self.ask = ask

    def _seek_bid(self) -> None:
        bid, lots = self.bid, self.lots
        while bid >= 0 and lots[bid] == 0:
            bid -= 1
        self.bid = bid
