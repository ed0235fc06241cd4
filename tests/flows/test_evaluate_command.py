from io import StringIO

import polars as pl
import pytest
from rich.console import Console
from typer.testing import CliRunner

from flows import commands_evaluate
from flows.cli import app
from flows.commands_evaluate import BarOptions, report_table
from operators.errors import InputError
from operators.messages import SECOND
from tests.stores import TS

runner = CliRunner()


def bars_file(path, minutes=5, step=60):
    stamps = [TS + n * step * SECOND for n in range(minutes)]
    pl.DataFrame(
        {"symbol": ["A"] * minutes, "ts": stamps, "open": 1.0, "high": 1.0, "low": 1.0,
         "close": 1.0, "volume": 1.0}
    ).write_parquet(path)  # fmt: skip
    return path


def test_interval_is_what_the_bars_show(tmp_path):
    for step in (1, 60):
        path = bars_file(tmp_path / f"{step}.parquet", step=step)
        _, interval = commands_evaluate._frame(path, BarOptions())
        assert interval == step * SECOND


def test_interval_of_sparse_bars_is_not_their_commonest_distance(tmp_path):
    seconds = [0, 30, 60, 90, 91]
    frame = pl.DataFrame({"ts_close": [TS + second * SECOND for second in seconds]})
    assert commands_evaluate._interval_of(frame) == SECOND


def test_bars_no_model_is_made_for_are_refused(tmp_path):
    with pytest.raises(InputError, match="bars of 300 s"):
        commands_evaluate._frame(bars_file(tmp_path / "b.parquet", step=300), BarOptions())
    with pytest.raises(InputError, match="holds no bars of these symbols"):
        commands_evaluate._frame(bars_file(tmp_path / "c.parquet"), BarOptions(symbols=("B",)))


def test_data_that_is_not_there_or_no_data_is_one_sentence(tmp_path):
    (tmp_path / "junk.csv").write_text("a,b\n1,2\n")
    for name in ("absent.csv", "junk.csv"):
        done = runner.invoke(app, ["evaluate", "forecast", "--data", str(tmp_path / name)])
        assert done.exit_code == 2
        assert done.stderr.startswith("nextgen: ")
        assert done.stderr.count("\n") == 1


def test_report_shows_the_model_beside_its_baselines():
    report = {"n": 10, "blocks": "days", "auc": [0.51, 0.5, 0.52], "turnover": 1.5,
              "model": "forecast_1m@1",
              "baselines": {"momentum": {"auc": [0.5, 0.49, 0.51]}}}  # fmt: skip
    console = Console(width=80, record=True, file=StringIO())
    console.print(report_table("forecast", report))
    text = console.export_text()
    for words in ("forecast, forecast_1m@1: n 10, blocks days", "momentum", "0.510 [0.500, 0.520]"):
        assert words in text
