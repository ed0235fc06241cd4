"""`nextgen exchange` and `python -m exchange`: serve the fake venue until told to end."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import structlog
import typer

from exchange.app import RECORDING, Exchange, ExchangeSettings, Venue
from exchange.chaos import CHAOS, chaos
from exchange.clock import ClockMode
from exchange.faults import Fault, FaultError, Kind, read_script
from exchange.market import MarketError
from exchange.parts import configure
from exchange.prices import PriceSettings
from exchange.recordings import RecordingError
from exchange.rules import BinanceRules

__all__ = ["main"]

_RULES = BinanceRules()


def main(
    port: Annotated[int, typer.Option(help="Where on 127.0.0.1; 0 is any that is free.")] = 8900,
    recording: Annotated[Path, typer.Option(help="Raw messages of Binance's streams.")] = RECORDING,
    first_seconds: Annotated[
        float | None, typer.Option(help="Serve only the recording's first seconds.")
    ] = None,
    symbols: Annotated[
        int, typer.Option(min=0, help="How many, with shifted copies; 0: those recorded.")
    ] = 0,
    copy_delay_ms: Annotated[
        int, typer.Option(min=0, help="How much later each copy is than the one before.")
    ] = ExchangeSettings().copy_delay_ms,
    clock: Annotated[
        ClockMode, typer.Option(help="recorded: bytes as recorded, in their time; live: now.")
    ] = ClockMode.RECORDED,
    speed: Annotated[float | None, typer.Option(help="How fast; 1 is as recorded.")] = None,
    rate: Annotated[
        float | None, typer.Option(help="Trades/s of all symbols, on average; sets the speed.")
    ] = None,
    loop: Annotated[
        bool | None, typer.Option(help="Begin anew at the end. Default: on the live clock.")
    ] = None,
    hold: Annotated[bool, typer.Option(help="Wait for POST /exchange/start.")] = False,
    script: Annotated[Path | None, typer.Option(help="Faults: TOML or JSON lines.")] = None,
    chaos_seed: Annotated[
        int | None, typer.Option("--chaos", help="Draw faults at random from this seed.")
    ] = None,
    chaos_seconds: Annotated[
        float, typer.Option(help="For how long faults are drawn, in the venue's time.")
    ] = 600.0,
    chaos_kinds: Annotated[
        str, typer.Option(help="Which kinds are drawn, with commas between.")
    ] = ",".join(CHAOS),
    tls: Annotated[bool, typer.Option(help="Speak TLS with a certificate of a test CA.")] = False,
    tls_folder: Annotated[
        Path, typer.Option(help="Where the CA's certificate, ca.pem, is written.")
    ] = Path("exchange-ca"),
    max_age: Annotated[
        float, typer.Option(help="Seconds until a connection is ended (the 24 h rule).")
    ] = _RULES.max_age_seconds,
    ping_seconds: Annotated[float, typer.Option(help="Between pings.")] = _RULES.ping_seconds,
    pong_seconds: Annotated[
        float, typer.Option(help="Until a connection without a pong is ended.")
    ] = _RULES.pong_seconds,
    weight_per_minute: Annotated[
        int, typer.Option(help="Request weight of an IP within a minute.")
    ] = _RULES.weight_per_minute,
    ban_seconds: Annotated[float, typer.Option(help="How long a 418 lasts.")] = _RULES.ban_seconds,
    shares: Annotated[
        str, typer.Option(help="calendar: shares keep New York's hours; continuous: they do not.")
    ] = "calendar",
    seed: Annotated[int, typer.Option(help="What venues that simulate draw from.")] = 0,
) -> None:
    """Serve a fake venue: Binance, Yahoo, news and mood, from recordings, with faults."""
    if not structlog.is_configured():
        # Standard output says where it listens, and nothing else.
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    if speed is not None and rate is not None:
        _refuse("--speed and --rate exclude each other: --rate sets the speed")
    for name, value in (("--speed", speed), ("--rate", rate), ("--max-age", max_age)):
        if value is not None and not value > 0:
            _refuse(f"{name} must be positive, not {value}")
    try:
        settings = ExchangeSettings(
            recording=recording,
            first_seconds=first_seconds,
            symbols=symbols,
            copy_delay_ms=copy_delay_ms,
            clock=clock,
            speed=1.0 if speed is None else speed,
            rate=rate,
            loop=loop,
            hold=hold,
            binance=BinanceRules(
                max_age_seconds=max_age,
                ping_seconds=ping_seconds,
                pong_seconds=pong_seconds,
                weight_per_minute=weight_per_minute,
                ban_seconds=ban_seconds,
            ),
            faults=() if script is None else read_script(script),
            seed=seed,
        )
        venue = Venue(settings)
        configure(venue, msgspec.convert({"hours": shares}, PriceSettings))
        if chaos_seed is not None:
            venue.faults.add(_drawn(venue, chaos_seed, chaos_seconds, chaos_kinds))
    except msgspec.ValidationError:
        _refuse(f"--shares must be calendar or continuous, not {shares}")
    except (FaultError, MarketError, RecordingError) as error:
        _refuse(str(error))
    try:
        asyncio.run(_serve(Exchange(venue, port, tls_folder=tls_folder if tls else None)))
    except OSError as error:
        _refuse(f"cannot listen on 127.0.0.1:{port}: {error}")


def _drawn(venue: Venue, seed: int, seconds: float, kinds: str) -> tuple[Fault, ...]:
    try:
        named = [Kind(name.strip()) for name in kinds.split(",") if name.strip()]
    except ValueError as error:
        raise FaultError(f"--chaos-kinds: {error}; known: {', '.join(Kind)}") from error
    return chaos(seed, seconds, list(venue.market.instruments), named)


def _refuse(sentence: str) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(2)


async def _serve(exchange: Exchange) -> None:
    """Serve until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with exchange:
        sys.stdout.write(f"listening on {exchange.url}\n")
        sys.stdout.flush()
        await ended.wait()
