"""Bars from every file form, and rows that are none."""

import zipfile
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from models.bar_files import BadRow, BarFileError, read_bars, read_bars_checked
from models.calendars import sessions
from tests.support import EQKER

SECOND = 10**9
MINUTE = 60 * SECOND
EASTERN = "America/New_York"
EPOCH = 1_549_895_460  # 2019-02-11 09:31 in New York
HEADER = "symbol,ts,open,high,low,close,volume\n"


def at(text, zone=EASTERN):
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * SECOND


def csv_file(folder, *rows, header=HEADER):
    path = folder / "bars.csv"
    path.write_bytes(header.encode() + b"".join(
        (row if isinstance(row, bytes) else row.encode()) + b"\n" for row in rows
    ))  # fmt: skip
    return path


@pytest.mark.parametrize(
    "ts",
    [
        "2019-02-11 09:31:00",
        "2019-02-11T09:31:00",
        "2019-02-11 09:31",
        "2019-02-11T14:31:00Z",
        "2019-02-11 14:31:00.000+00:00",
        "2019-02-11T23:31:00+09:00",
        *(f"{EPOCH}{zeros}" for zeros in ("", "000", "000000", "000000000")),
        f"{EPOCH}.0",
        "1.54989546e12",
    ],
)
def test_every_form_of_time_is_the_same_close(tmp_path, ts):
    bars = read_bars(csv_file(tmp_path, f"A,{ts},1,2,0.5,1.5,10"), tz=EASTERN)

    assert bars.row(0) == ("A", at("2019-02-11 09:31"), 1.0, 2.0, 0.5, 1.5, 10.0, None, None)


def test_times_with_a_zone_need_no_tz_and_naive_ones_do(tmp_path):
    aware = csv_file(tmp_path, "A,2019-02-11T14:31:00Z,1,1,1,1,1")
    assert read_bars(aware)["ts_close"][0] == at("2019-02-11 09:31")

    naive = csv_file(tmp_path, "A,2019-02-11 09:31:00,1,1,1,1,1")
    with pytest.raises(BarFileError, match="times without a zone"):
        read_bars(naive)


def test_start_labels_become_closes(tmp_path):
    path = csv_file(tmp_path, *(f"A,{EPOCH + second},1,1,1,1,1" for second in (60, 120, 240)))

    assert read_bars(path, label="start")["ts_close"].to_list() == [
        (EPOCH + second) * SECOND for second in (120, 180, 300)
    ]


def test_bad_rows_are_handed_back_and_stop_nothing(tmp_path):
    good = "A,1549895460000000000,1,2,0.5,1.5,10"
    path = csv_file(
        tmp_path,
        good,
        "B,1549895460000000000,1,2,0.5,-1.5,10",
        "C,1549895460000000000,1,2,0.5,nan,10",
        "D,1549895460000000000,1,0.5,2,1,10",
        "E,1549895460000000000,inf,inf,1,1,10",
        "F,soon,1,2,0.5,1.5,10",
        "G,1549895460000000000,1,2,0.5,1.5,-1",
        "H,1549895460000000000,1",
        b"\xff\xfe\x00binary\x80",
        '"I,1549895460000000000,1,2,0.5,1.5,10',
        good,
        ",1549895460000000000,1,2,0.5,1.5,10",
        "J,9999-12-31 23:59:59,1,2,0.5,1.5,10",
        "K,-5,1,2,0.5,1.5,10",
    )

    bars, bad = read_bars_checked(path, tz=EASTERN)

    assert bars["symbol"].to_list() == ["A", "I"]
    assert {row.line: row.why for row in bad} == {
        3: "bad_value",
        4: "bad_value",
        5: "bad_value",
        6: "bad_value",
        7: "unreadable",
        8: "bad_value",
        9: "unreadable",
        10: "unreadable",
        12: "duplicate",
        13: "unreadable",
        14: "bad_value",
        15: "bad_value",
    }
    assert BadRow(7, "F,soon,1,2,0.5,1.5,10", "unreadable") in bad


@pytest.mark.parametrize("unit", [1, 1000, 10**6, SECOND])
@pytest.mark.parametrize("kind", [pl.Int64, pl.UInt64, pl.Float64])
def test_epochs_of_a_table_are_told_apart_by_their_size(tmp_path, unit, kind):
    ts = pl.Series([EPOCH * unit, 60 * unit, 8_000_000_000 * unit]).cast(kind)
    prices = {c: [1.0] * 3 for c in ("open", "high", "low", "close", "volume")}
    pl.DataFrame({"symbol": ["A"] * 3, "ts": ts, **prices}).write_parquet(tmp_path / "a.parquet")

    bars, bad = read_bars_checked(tmp_path / "a.parquet")

    assert bars["ts_close"].to_list() == [EPOCH * SECOND]
    assert [row.why for row in bad] == ["bad_value"] * 2


@pytest.mark.parametrize("place", range(4))
def test_rubbish_double_does_not_take_the_place_of_a_bar(tmp_path, place):
    good = [f"A,{EPOCH + 60 * n},170,172,169,{169 + n}.5,10" for n in range(3)]
    rubbish = f"A,{EPOCH + 60},1,1,1,1,1"

    bars, bad = read_bars_checked(csv_file(tmp_path, *good[:place], rubbish, *good[place:]))

    assert bars["close"].to_list() == [169.5, 170.5, 171.5]
    assert [(row.text, row.why) for row in bad] == [(rubbish, "duplicate")]


def test_parquet_equals_csv(tmp_path):
    frame = pl.DataFrame(
        {
            "symbol": ["A", "B"],
            "ts": [datetime(2019, 2, 11, 14, 31, tzinfo=UTC)] * 2,
            **{c: [1.25, 2.5] for c in ("open", "high", "low", "close", "volume")},
            "spread": [0.01, -1.0],
        }
    )
    frame.write_parquet(tmp_path / "bars.parquet")

    bars = read_bars(tmp_path / "bars.parquet")

    assert bars["ts_close"].to_list() == [at("2019-02-11 09:31")] * 2
    assert bars["spread"].to_list() == [0.01, None]


def test_eqker_folder_labels_bars_by_close():
    bars, bad = read_bars_checked(EQKER)

    assert bad == []
    assert bars["symbol"].n_unique() == 24
    # 390 labels of a full session, 09:31 to 16:00: a start label would be 09:30 to 15:59.
    grid = sessions("XNYS").grid(at("2019-02-11"), at("2019-02-16"), MINUTE)
    spy = bars.filter(pl.col("symbol") == "SPY")["ts_close"].to_list()
    assert spy == grid


def lean_zip(folder, kind, day, rows, place="equity/usa/second/spy"):
    target = folder / place
    target.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target / f"{day}_{kind}.zip", "w") as archive:
        archive.writestr("x.csv", "\n".join(rows))


def test_lean_equity_joins_the_standing_quote_and_keeps_regular_hours(tmp_path):
    morning = 34_200_000  # 09:30 in ms
    lean_zip(tmp_path, "trade", "20131007", [
        f"{morning - 1000},1690000,1690000,1690000,1690000,5",
        f"{morning},1690000,1691000,1689500,1690500,100",
        f"{morning + 5000},1690500,1690500,1690500,1690500,7",
        f"{57_600_000},1690000,1690000,1690000,1690000,5",
    ])  # fmt: skip
    lean_zip(tmp_path, "quote", "20131007", [
        f"{morning},1,1,1,1690400,300,1,1,1,1690600,100",
    ])  # fmt: skip

    bars, bad = read_bars_checked(tmp_path)

    assert bad == []
    assert bars["ts_close"].to_list() == [
        at("2013-10-07 09:30:01"),
        at("2013-10-07 09:30:06"),
    ]
    assert bars.row(0)[2:7] == (169.0, 169.1, 168.95, 169.05, 100.0)
    assert bars["spread"].to_list() == pytest.approx([0.02, 0.02])
    assert bars["imbalance"].to_list() == [0.5, 0.5]


def test_lean_crypto_is_utc_and_unscaled(tmp_path):
    lean_zip(
        tmp_path, "trade", "20161009", ["1000,619.41,619.46,619.3,619.45,3.74"],
        "crypto/coinbase/second/btcusd",
    )  # fmt: skip

    bars = read_bars(tmp_path)

    assert bars.row(0)[:4] == ("BTCUSD", at("2016-10-09 00:00:02", "UTC"), 619.41, 619.46)


def test_lean_quotes_alone_make_mid_price_bars(tmp_path):
    lean_zip(
        tmp_path, "quote", "20140507", ["0,1.0,1.2,0.8,1.0,0,1.2,1.4,1.0,1.2,0"],
        "forex/oanda/minute/eurusd",
    )  # fmt: skip

    row = read_bars(tmp_path).row(0, named=True)

    assert row["close"] == pytest.approx(1.1)
    assert row["spread"] == pytest.approx(0.2)
    assert row["imbalance"] is None


def test_damaged_zip_is_one_bad_row(tmp_path):
    lean_zip(tmp_path, "trade", "20131007", ["34200000,1690000,1690000,1690000,1690000,1"])
    (tmp_path / "equity/usa/second/spy/20131008_trade.zip").write_bytes(b"PK\x03\x04 torn")

    bars, bad = read_bars_checked(tmp_path)

    assert bars.height == 1
    assert [row.why for row in bad] == ["unreadable"]
    assert "20131008_trade.zip" in bad[0].text


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", b"a,b\n1,2\n", "has no column 'symbol'"),
        ("a.parquet", b"PAR1 torn", "cannot be read as a table"),
        ("a.csv", b"", "cannot be read as a table"),
    ],
)
def test_files_without_bars_are_one_clear_sentence(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(BarFileError, match=sentence):
        read_bars(tmp_path / name)
    with pytest.raises(BarFileError, match="There is no file"):
        read_bars(tmp_path / "absent.csv")


def test_folder_of_nothing_and_several_resolutions_are_refused(tmp_path):
    with pytest.raises(BarFileError, match="holds no CSV"):
        read_bars(tmp_path)
    row = ["34200000,1690000,1690000,1690000,1690000,1"]
    lean_zip(tmp_path, "trade", "20131007", row)
    lean_zip(tmp_path, "trade", "20131007", row, "equity/usa/minute/spy")
    with pytest.raises(BarFileError, match="give the interval"):
        read_bars(tmp_path)
    assert read_bars(tmp_path, interval=MINUTE)["ts_close"].to_list() == [at("2013-10-07 09:31")]
