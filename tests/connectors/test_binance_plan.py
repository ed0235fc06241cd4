"""Settings of the Binance feed, and how streams are shared out."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.resilience import RateWindow
from connectors.secrets import Secret, secret_from
from connectors.sources.binance_plan import BinanceSettings, plan, streams_of


@given(
    count=st.integers(1, 400),
    streams=st.integers(3, 1024),
    klines=st.sampled_from([(), ("1s",)]),
)
def test_every_stream_has_one_connection_within_all_limits(count, streams, klines):
    settings = BinanceSettings(streams_per_connection=streams, klines=klines)
    symbols = tuple(f"SYM{n}USDT" for n in range(count))
    shards = plan(settings, symbols)

    carried = [stream for shard in shards for stream in shard.streams]
    assert sorted(carried) == sorted(s for symbol in symbols for s in streams_of(symbol, settings))
    assert sorted(symbol for shard in shards for symbol in shard.symbols) == sorted(symbols)
    host = max(map(len, settings.ws_hosts))
    for shard in shards:
        assert len(shard.streams) <= min(streams, 1024)
        assert host + len(shard.path) <= settings.url_length
        assert shard.path == "/stream?streams=" + "/".join(shard.streams)
    sizes = [len(shard.symbols) for shard in shards]
    assert max(sizes) - min(sizes) <= 1


def test_fifty_symbols_are_two_connections():
    assert len(plan(BinanceSettings(), tuple(f"S{n}" for n in range(50)))) == 2


def test_a_symbol_that_is_not_ascii_is_quoted_in_the_url():
    [shard] = plan(BinanceSettings(quotes=False), ("币安USDT",))

    assert shard.streams == ("币安usdt@trade",)
    assert shard.path == "/stream?streams=%E5%B8%81%E5%AE%89usdt@trade"


def test_symbols_that_are_empty_or_named_twice_are_refused():
    for symbols in (("",), ("BTCUSDT", "BTCUSDT")):
        with pytest.raises(ValueError, match="named once each"):
            plan(BinanceSettings(), symbols)
    with pytest.raises(ValueError, match="a symbol has 2 streams"):
        plan(BinanceSettings(streams_per_connection=1), ("BTCUSDT",))
    assert plan(BinanceSettings(), ()) == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"streams_per_connection": 1025},
        {"trades": "depth"},
        {"ws_hosts": ()},
        {"messages_per_second": 1},
        {"weight_share": 0.0},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        BinanceSettings(**wrong)


def test_settings_are_read_with_a_secret_and_refuse_unknown_keys():
    def read(found):
        return msgspec.convert(found, BinanceSettings, dec_hook=secret_from)

    settings = read({"trades": "aggTrade", "api_key": "a-key-of-some-length"})
    assert settings.api_key == Secret("a-key-of-some-length")
    assert "a-key-of-some-length" not in repr(settings)
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        read({"trade": "aggTrade"})


def test_all_hosts_are_replaced_by_the_fake_venue():
    settings = BinanceSettings().at("http://127.0.0.1:8900/")

    assert settings.ws_hosts == ("ws://127.0.0.1:8900",)
    assert settings.rest_hosts == ("http://127.0.0.1:8900",)


@given(st.lists(st.floats(0.0, 0.7), max_size=60))
def test_what_a_connection_may_send_never_exceeds_the_limit_in_any_second(pauses):
    now = 0.0
    settings = BinanceSettings()
    window = RateWindow(settings.messages_per_second - 1, 1.0, spare_seconds=0.2, clock=lambda: now)
    sent = []
    for pause in pauses:
        now += pause
        if window.allows():
            sent.append(now)
    for at in sent:
        assert sum(at <= other <= at + 1.0 for other in sent) <= settings.messages_per_second - 1
