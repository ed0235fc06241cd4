"""Which of our symbols a headline is about: tickers, names and cashtags, English and Japanese.

A word counts only where it can hardly mean anything else. What stays open is left out: a
headline at the wrong symbol does more harm than one that is missed.
"""

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec

DEFAULT_BOOK = Path(__file__).with_name("symbol_book.toml")
# What crypto is quoted in, longest first; the rest of the symbol is the asset.
_QUOTES = re.compile(r"^([A-Z0-9]{2,10}?)[-/_]?(?:FDUSD|USDT|USDC|TUSD|BUSD|USD|EUR|JPY|GBP|TRY)$")
_EXCHANGES = r"NASDAQ|NYSE(?:\s?(?:American|Arca))?|NYSEARCA|AMEX|TSE|TYO|TSX|OTC(?:QX|QB|MKTS)?"

_CASHTAG = re.compile(r"(?<![\w$])\$([A-Za-z]{1,6})(\.[Xx])?(?![\w$])")
_LISTED = re.compile(rf"\b(?i:{_EXCHANGES})\s*:\s*([A-Z]{{1,6}}|\d{{3}}[0-9A-Z])\b")
_SUFFIXED = re.compile(r"(?<![\w.])(\d{3}[0-9A-Z])(?:\.(?:T|JP|TYO)|:JP)(?!\w)")
_BRACKETS = re.compile(r"\(([^()]{1,60})\)|[<\[【]([^<>\[\]【】]{1,60})[>\]】]")
_BETWEEN = re.compile(r"\s*[,;/、・]\s*")
_CODE = re.compile(r"([A-Z]{1,6}|\d{3}[0-9A-Z])(?:\.(?:T|JP|O|OQ|N|X)|:(?:US|JP))?")
_YEAR = re.compile(r"(?:19|20)\d\d")
_KATAKANA = r"[ァ-ヴー]"
# A company's name goes on with these and stays that company's.
_GOES_ON = r"(?:グループ|ホールディングス|モーター|ショック)"
_SURE_CODE = 4  # letters; shorter ones are words and abbreviations too often
Kind = Literal["crypto", "us", "tse"]
_Key = tuple[Kind, str]  # and ticker


class Asset(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"but": "except"}):
    """How news calls one asset; the fields are explained in symbol_book.toml."""

    ticker: str
    kind: Kind
    names: tuple[str, ...] = ()
    cased: tuple[str, ...] = ()
    ja: tuple[str, ...] = ()
    tickers: tuple[str, ...] = ()
    plain: Literal["always", "cased", "never"] = "never"
    but: tuple[str, ...] = ()

    @property
    def codes(self) -> tuple[str, ...]:
        """The ticker and its other forms."""
        return (self.ticker, *self.tickers)


class _Book(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    publishers: tuple[str, ...] = ()
    asset: tuple[Asset, ...] = ()


@cache
def _shipped() -> _Book:
    document: dict[str, Any] = tomllib.loads(DEFAULT_BOOK.read_text("utf-8"))
    return msgspec.convert(document, _Book)


class SymbolBook:
    """Find the symbols of a universe in text.

    >>> book = SymbolBook(("BTCUSDT", "AAPL", "7203.T"))
    >>> book.symbols_in("Bitcoin slips as $AAPL gains")
    ('AAPL', 'BTCUSDT')
    >>> book.symbols_in("トヨタの営業利益、過去最高")
    ('7203.T',)
    >>> book.symbols_in("An apple a day")
    ()
    >>> book.names_in("Bitcoin slips as $AAPL gains")
    {'BTCUSDT': 'Bitcoin', 'AAPL': '$AAPL'}
    """

    def __init__(
        self,
        universe: Iterable[str],
        *,
        more: Sequence[Asset] = (),
        symbols: dict[str, str] | None = None,
    ) -> None:
        """Know the `universe`.

        Args:
            universe: Our names.
            more: Assets beside those shipped; one with a shipped kind and ticker replaces it.
            symbols: Which ticker a name of ours stands for, where its form does not tell.
        """
        shipped = _shipped()
        assets: dict[_Key, Asset] = {
            (asset.kind, asset.ticker): asset for asset in (*shipped.asset, *more)
        }
        self.publishers = shipped.publishers
        self._ours: dict[_Key, list[str]] = {}
        for symbol in sorted(set(universe)):
            key = _key_of((symbols or {}).get(symbol, symbol), assets)
            self._ours.setdefault(key, []).append(symbol)
            if key not in assets:  # in no book: found by its ticker, if that is no word
                kind, ticker = key
                known = len(ticker) >= _SURE_CODE and ticker.isalpha()
                assets[key] = Asset(ticker, kind, plain="cased" if known else "never")
        self._codes: dict[str, list[_Key]] = {}
        for key, asset in assets.items():
            for code in asset.codes:
                self._codes.setdefault(code, []).append(key)
        self._phrases = _Phrases(assets)
        self._names = {
            _folded(name)
            for asset in assets.values()
            for name in (*asset.names, *asset.cased, *asset.ja)
        } | {_folded(name) for name in self.publishers}

    def symbols_in(self, text: str) -> tuple[str, ...]:
        """Return which of our symbols `text` is about, sorted; none if none for sure."""
        return tuple(sorted(self.names_in(text)))

    def names_in(self, text: str) -> dict[str, str]:
        """Return the words by which `text` first names each of our symbols, names before codes."""
        text = _plain(text)
        named = self._phrases.keys_in(text)

        def coded(code: str, kinds: set[Kind], words: str) -> None:
            for key in self._coded(code, kinds):
                named.setdefault(key, words)

        for match in _CASHTAG.finditer(text):
            coded(match[1].upper(), {"crypto"} if match[2] else {"crypto", "us"}, match[0])
        for pattern in (_LISTED, _SUFFIXED):
            for match in pattern.finditer(text):
                coded(match[1], {"us", "tse"}, match[1])
        for match in _BRACKETS.finditer(text):
            pieces = [_CODE.fullmatch(p) for p in _BETWEEN.split((match[1] or match[2]).strip())]
            # In round brackets a number may be a year, as in "(2002)".
            if all(pieces) and not (match[1] and _YEAR.fullmatch(match[1])):
                for piece in filter(None, pieces):
                    coded(piece[1], {"us", "tse", "crypto"}, piece[1])
        return {symbol: words for key, words in named.items() for symbol in self._ours.get(key, ())}

    def symbols_of(self, code: str) -> tuple[str, ...]:
        """Return our symbols for a venue's code, as `CRYPTO:BTC`, `BTC.X`, `AAPL` or `7203.T`."""
        code = _plain(code).strip().upper()
        kinds: set[Kind] = {"us", "tse", "crypto"}
        if code.startswith("CRYPTO:") or code.endswith(".X"):
            kinds = {"crypto"}
        code = code.rpartition(":")[2].removesuffix(".X").removesuffix(".T").removesuffix(".JP")
        return self._named(self._coded(code, kinds))

    def is_name(self, words: str) -> bool:
        """Say whether `words` are the name of an asset or of a publisher."""
        return _folded(words) in self._names

    def _coded(self, code: str, kinds: set[Kind]) -> set[_Key]:
        return {key for key in self._codes.get(code, ()) if key[0] in kinds}

    def _named(self, keys: Iterable[_Key]) -> tuple[str, ...]:
        return tuple(sorted({symbol for key in keys for symbol in self._ours.get(key, ())}))


class _Phrases:
    """The names of all assets as one pattern, the longest first.

    One pass, in which a longer name takes the place of those within it: "Bitcoin Cash" is
    not Bitcoin, and 日立建機 not 日立.
    """

    def __init__(self, assets: dict[_Key, Asset]) -> None:
        # folded phrase -> how it must be written (None: in any case), and whose it is
        self._meant: dict[str, list[tuple[str | None, bool, _Key]]] = {}
        for key, asset in assets.items():
            for name in asset.but:
                self._meant.setdefault(_folded(name), [])
            for name in (*asset.names, *asset.ja):
                self._add(name, None, key)
            for name in asset.cased:
                self._add(name, _plain(name), key)
                self._add(name, _plain(name).upper(), key)
            for code in asset.codes if asset.plain != "never" else ():
                self._add(code, code, key, shy=asset.plain == "cased")
        ordered = sorted(self._meant, key=lambda phrase: (-len(phrase), phrase))
        forms = "|".join(map(_bounded, ordered))
        self._pattern = re.compile(forms or "(?!)", re.IGNORECASE)

    def _add(self, phrase: str, form: str | None, key: _Key, *, shy: bool = False) -> None:
        self._meant.setdefault(_folded(phrase), []).append((form, shy, key))

    def keys_in(self, text: str) -> dict[_Key, str]:
        """Return whose names stand in the text, in their order, with the words of the first."""
        shouted = text.upper() == text and any(c.isascii() and c.isalpha() for c in text)
        # Capitals of a code tell something beside Japanese, which has none.
        shouted = shouted and not re.search(r"[ぁ-ヿ一-鿿]", text)
        found: dict[_Key, str] = {}
        for match in self._pattern.finditer(text):
            for form, shy, key in self._meant.get(_folded(match[0]), ()):
                if (form is None or form == match[0]) and not (shy and shouted):
                    found.setdefault(key, match[0])
        return found


def _bounded(name: str) -> str:
    """Return the pattern of a name, with no letter of its own script beside it."""
    form = re.escape(name)
    if re.match(r"[a-z0-9]", name):  # Japanese may stand next to Latin without a space
        form = rf"(?<![A-Za-z0-9À-ɏ_$]){form}"
    elif re.match(_KATAKANA, name):
        form = rf"(?<!{_KATAKANA}){form}"
    if re.search(r"[a-z0-9]$", name):
        form = rf"{form}(?![A-Za-z0-9À-ɏ_])"
    elif re.search(rf"{_KATAKANA}$", name):
        form = rf"{form}(?:(?!{_KATAKANA})|(?={_GOES_ON}))"
    return form


def _key_of(symbol: str, assets: dict[_Key, Asset]) -> tuple[Kind, str]:
    """Return the kind and ticker that a symbol of ours stands for."""
    if re.fullmatch(r"\d{3}[0-9A-Z](?:\.T)?", symbol):
        return "tse", symbol.removesuffix(".T")
    split = _QUOTES.match(symbol)
    if split is not None:
        return "crypto", split[1]
    is_crypto = ("crypto", symbol) in assets and ("us", symbol) not in assets
    return ("crypto" if is_crypto else "us"), symbol


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).replace("\u2019", "'")


def _folded(text: str) -> str:
    return _plain(text).casefold()
