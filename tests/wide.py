"""Recordings of many symbols and any length, from the shipped one: shifted copies, on and on."""

import gzip
import heapq
import re
from itertools import islice

from tests.support import RECORDING

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
_PARTS = re.compile(
    rb'^(?P<at>\d+) (?P<head>\{"stream":")(?P<pair>btc|eth)usdt(?P<rest>@.*"s":")...(?P<tail>USDT.*)$'  # noqa: E501
)
_TIMES = re.compile(rb'"([ET])":(\d{13})')
_IDS = re.compile(rb'"([tu])":(\d+)')
_TRADE_ID = re.compile(rb'"t":(\d+)')
_SHIFT = 737 * MILLISECOND  # between two copies


def wide(path, symbols, *, minutes=10, quotes=True, lines=None):
    """Write a recording of `symbols` symbols at `path`; return it and their names.

    The n-th pair of copies happens n x 737 ms later; after ten minutes all begin again, where
    trade ids go on. Without `quotes` it holds trades alone.
    """
    with gzip.open(RECORDING) as file:
        taken = [_PARTS.match(line.rstrip()) for line in islice(file, lines)]
    entries = [match for match in taken if match and (quotes or b"@trade" in match["rest"])]
    steps = {pair: _steps(entries, pair) for pair in _PAIRS}
    begin, end = int(entries[0]["at"]), int(entries[-1]["at"])
    span = end - begin + SECOND // 100
    names = set()

    def copies(number):
        base = b"%s" % _name(number)
        own = _PAIRS[number % 2]
        mine = [match for match in entries if match["pair"] == own]
        names.add((base + b"USDT").decode())
        loop = 0
        while True:
            shift = loop * span + number // 2 * _SHIFT
            for match in mine:
                at = int(match["at"]) + shift
                if at >= begin + minutes * 60 * SECOND:
                    return
                yield at, _line(at, match, base, shift, loop, steps[own])
            loop += 1

    with path.open("wb") as out:
        for _, line in heapq.merge(*(copies(number) for number in range(symbols))):
            out.write(line)
    return path, tuple(sorted(names))


_PAIRS = (b"btc", b"eth")


def _name(number):
    copy = number // 2
    return _PAIRS[number % 2].upper() + (b"%c%d" % (65 + copy % 26, copy) if copy else b"")


def _steps(entries, pair):
    """Return how many ids a loop of `pair` takes, by field."""
    ids = [
        int(_TRADE_ID.search(match["tail"])[1])
        for match in entries
        if match["pair"] == pair and b"@trade" in match["rest"]
    ]
    return {b"t": ids[-1] - ids[0] + 1, b"u": 10**9}


def _line(at, match, base, shift, loop, steps):
    tail = match["tail"]
    if shift:
        milliseconds = shift // MILLISECOND
        tail = _TIMES.sub(lambda m: b'"%s":%d' % (m[1], int(m[2]) + milliseconds), tail)
        if loop:  # ids of a venue only ever rise; each loop's follow the last one's
            tail = _IDS.sub(lambda m: b'"%s":%d' % (m[1], int(m[2]) + loop * steps[m[1]]), tail)
    return b"%d %s%susdt%s%s%s\n" % (
        at, match["head"], base.lower(), match["rest"], base, tail,
    )  # fmt: skip
