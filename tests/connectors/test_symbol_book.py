"""Headlines find their symbols in English and Japanese, and doubtful words find none."""

import pytest

from connectors.sources.symbol_book import Asset, SymbolBook

UNIVERSE = (
    "BTCUSDT", "ETHUSDT", "SOLUSDT", "BCHUSDT", "ETCUSDT", "XRPUSDT", "SUIUSDT", "LINKUSDT",
    "AAPL", "META", "JNJ", "A", "IT", "ON", "F", "GME", "RIVN",
    "7203.T", "7974.T", "6501.T", "6758.T", "9984.T", "9434.T", "9432.T", "2002.T",
)  # fmt: skip
BOOK = SymbolBook(UNIVERSE)


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("Bitcoin slips as $AAPL gains", "AAPL BTCUSDT"),
        ("BITCOIN HITS RECORD", "BTCUSDT"),
        ("bitcoin's halving", "BTCUSDT"),
        ("#Bitcoin-backed bonds", "BTCUSDT"),
        ("BTC/USD breaks out", "BTCUSDT"),
        ("Bitcoin Cash soars", "BCHUSDT"),
        ("Bitcoin Cash lags Bitcoin", "BCHUSDT BTCUSDT"),
        ("Ethereum Classic fork", "ETCUSDT"),
        ("Ethereum\u2019s fork", "ETHUSDT"),
        ("Ripple wins in court", "XRPUSDT"),
        ("a ripple effect", ""),
        ("$btc and \uff04ETH", "BTCUSDT ETHUSDT"),
        ("$BTC.X to the moon", "BTCUSDT"),
        ("US$5 or $5", ""),
        ("Apple's iPhone", "AAPL"),
        ("APPLE BEATS ESTIMATES", "AAPL"),
        ("an apple a day", ""),
        ("Apple Pie prices rise", ""),
        ("pineapple exports", ""),
        ("Meta to cut jobs", "META"),
        ("metaverse and meta-analysis", ""),
        ("Johnson & Johnson recalls", "JNJ"),
        ("Results (NASDAQ: AAPL)", "AAPL"),
        ("Results (NYSE:F, NASDAQ: META)", "F META"),
        ("Tech leads (AAPL, META)", "AAPL META"),
        ("Gamestop (GME) halted", "GME"),
        ("GME soars", ""),  # in no book, and short: could be any abbreviation
        ("RIVN soars", "RIVN"),
        ("Toyota recalls cars", "7203.T"),
        ("Toyota Industries bid", ""),
        ("7203.T rises", "7203.T"),
        ("TYO:7203 rises", "7203.T"),
        ("price of 7203 yen", ""),
        ("NTT to buy back shares", "9432.T"),
        ("NTT Data wins order", ""),
    ],
)
def test_english(text, symbols):
    assert " ".join(BOOK.symbols_in(text)) == symbols


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("トヨタの営業利益、過去最高", "7203.T"),
        ("トヨタ自動車が増産", "7203.T"),
        ("トヨタグループ各社", "7203.T"),
        ("ﾄﾖﾀが続伸", "7203.T"),
        ("ﾋﾞｯﾄｺｲﾝ急落", "BTCUSDT"),
        ("トヨタ紡織が上方修正", ""),
        ("任天堂<7974>が反発", "7974.T"),
        ("【7974】決算速報", "7974.T"),
        ("ソニーＧ、映画好調", "6758.T"),
        ("ソニー生命が新商品", ""),
        ("日立が反落", "6501.T"),
        ("日立建機が反落", ""),
        ("ソフトバンクが値上げ", "9434.T"),
        ("ソフトバンクグループが最終赤字", "9984.T"),
        ("NTTが自社株買い", "9432.T"),
        ("NTTデータが受注", ""),
        ("（7203）が年初来高値", "7203.T"),  # noqa: RUF001
        ("ビットコイン急騰、イーサリアムも", "BTCUSDT ETHUSDT"),
        ("ビットコインキャッシュ急騰", "BCHUSDT"),
        ("アップルパイが人気", ""),
        ("アップルが新製品", "AAPL"),
        ("スナップルの新味", ""),
        ("日経平均は続伸", ""),
        ("日清製粉<2002>が高い", "2002.T"),
        ("不況の年(2002)以来", ""),
    ],
)
def test_japanese(text, symbols):
    assert " ".join(BOOK.symbols_in(text)) == symbols


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("IT spending is ON, A to Z", ""),
        ("it is on, a to z", ""),
        ("Gartner (IT) raises outlook", "IT"),
        ("onsemi (NASDAQ: ON) falls", "ON"),
        ("$A and $IT", "A IT"),
        ("(ON A ROLL)", ""),
        ("Ford (F) recalls", "F"),
        ("sol and sui", ""),
        ("SOL rises 5% today", "SOLUSDT"),
        ("SOL RISES", ""),  # in capitals all words look like tickers
        ("$sol", "SOLUSDT"),
        ("Solana", "SOLUSDT"),
        ("A weak LINK in the chain", ""),
        ("Chainlink", "LINKUSDT"),
        ("xSOLx, SOLO, $SOLO", ""),
    ],
)
def test_ambiguous_tickers_need_an_unmistakable_form(text, symbols):
    assert " ".join(BOOK.symbols_in(text)) == symbols


@pytest.mark.parametrize(
    ("code", "symbols"),
    [
        ("CRYPTO:BTC", ("BTCUSDT",)),
        ("BTC.X", ("BTCUSDT",)),
        ("btc", ("BTCUSDT",)),
        ("AAPL", ("AAPL",)),
        ("CRYPTO:AAPL", ()),
        ("7203.T", ("7203.T",)),
        ("TYO:7203", ("7203.T",)),
        ("FOREX:USD", ()),
        ("", ()),
    ],
)
def test_venues_codes(code, symbols):
    assert BOOK.symbols_of(code) == symbols


def test_symbols_are_ours_alone_and_all_that_an_asset_has():
    book = SymbolBook(("BTCUSDT", "BTC-USD", "ETHBTC"), symbols={"ETHBTC": "ETHUSDT"})

    assert book.symbols_in("Bitcoin, Ether, Solana and Apple") == ("BTC-USD", "BTCUSDT", "ETHBTC")


def test_settings_add_and_replace_assets():
    more = (
        Asset("7203", "tse", names=("big t",)),
        Asset("ACME", "us", names=("acme rockets",), plain="never"),
    )
    book = SymbolBook(("7203.T", "ACME"), more=more)

    assert book.symbols_in("Big T and Acme Rockets") == ("7203.T", "ACME")
    assert book.symbols_in("Toyota and ACME") == ()


def test_shipped_book_knows_the_large_ones_by_name():
    names = {"Bitcoin": "BTCUSDT", "Microsoft": "MSFT", "ホンダ": "7267.T", "Nintendo": "7974.T"}
    book = SymbolBook(names.values())

    assert {name: book.symbols_in(name) for name in names} == {
        name: (symbol,) for name, symbol in names.items()
    }
