"""All configuration, composed from a profile; the only reader of the environment.

Each part is a frozen struct beside its user, with its defaults explained there; a profile
(`flows/profiles/NAME.toml`) says what differs. Unknown keys are refused.
"""

import hashlib
import os
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from models.calendars import CalendarError, sessions
from models.ppo.rules import PositionRules
from operators.clocks import ClockSettings
from operators.errors import SettingsError
from operators.fusion import FusionSettings
from operators.messages import SECOND
from operators.quality import QualityLimits
from operators.risk import CostSettings, RiskSettings
from operators.sentiment import SentimentSettings

PROFILES = Path(__file__).resolve().parent / "profiles"
_UNITS = {"s": SECOND, "m": 60 * SECOND}


class GroupSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Symbols that share interval, calendar and models."""

    symbols: tuple[str, ...] = ()  # none: --symbols must name them, or "all"
    interval: str = "1s"
    calendar: str = "24/7"  # a name of exchange_calendars, or 24/7
    forecast: str = "forecast_1s"
    policy: str = "policy_1s"
    sentiment: str = "sentiment_en"

    @property
    def interval_ns(self) -> int:
        """The bar interval in nanoseconds."""
        number, unit = self.interval[:-1], self.interval[-1:]
        if not number.isdecimal() or unit not in _UNITS or int(number) == 0:
            raise SettingsError(
                f"group.interval: expected a number and 's' or 'm', as in '1s', found "
                f"'{self.interval}'"
            )
        return int(number) * _UNITS[unit]


class InputSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How bar files without a zone or label of their own are to be read."""

    tz: str = "UTC"
    label: str = "close"  # a bar's time is its "close" or its "start"
    files: tuple[str, ...] = ()  # what the demo replays, relative to the checkout


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a run is configured by."""

    profile: str = "default"
    group: GroupSettings = GroupSettings()
    inputs: InputSettings = InputSettings()
    clock: ClockSettings = ClockSettings()
    quality: QualityLimits = QualityLimits()
    sentiment: SentimentSettings = SentimentSettings()
    policy: PositionRules = PositionRules()
    fusion: FusionSettings = FusionSettings()
    risk: RiskSettings = RiskSettings()
    costs: CostSettings = CostSettings()
    checkpoint_every: int = 60  # bars; explain replays at most this many

    @property
    def symbols(self) -> tuple[str, ...]:
        """The universe in its one order."""
        return tuple(sorted(set(self.group.symbols)))

    @property
    def config_hash(self) -> str:
        """Hash of all that decides: never paths, sinks, speed or process count."""
        deciding = {
            "symbols": self.symbols,
            "interval": self.group.interval_ns,
            "calendar": self.group.calendar,
            "clock": self.clock,
            "quality": self.quality,
            "sentiment": self.sentiment,
            "policy": self.policy,
            "fusion": self.fusion,
            "risk": self.risk,
            "costs": self.costs,
        }
        return hashlib.sha256(msgspec.json.encode(deciding, order="sorted")).hexdigest()[:16]


def profile_names() -> list[str]:
    """Return the shipped profiles."""
    return sorted(path.stem for path in PROFILES.glob("*.toml"))


def load_profile(name: str, *, symbols: tuple[str, ...] | None = None) -> Settings:
    """Read a profile by name or path, and put `symbols` in the place of its universe.

    Raises:
        SettingsError: no such profile, no TOML, an unknown key or an impossible value.
    """
    path = Path(name) if name.endswith(".toml") else PROFILES / f"{name}.toml"
    if not path.is_file():
        raise SettingsError(
            f"no profile '{name}'; there are {', '.join(profile_names())}, or give a path "
            "ending in .toml"
        )
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"profile {path} is not TOML: {error}") from error
    group = document.setdefault("group", {})
    if symbols is not None and isinstance(group, dict):
        group["symbols"] = list(symbols)
    if "interval" in (clock := document.setdefault("clock", {})):
        raise SettingsError(f"profile {path}: the interval stands in [group], not in [clock]")
    clock["interval_ns"] = _interval(group, path)
    document["profile"] = path.stem
    try:
        settings = msgspec.convert(document, Settings, strict=True)
    except msgspec.ValidationError as error:
        raise SettingsError(f"profile {path}: {error}") from error
    try:
        sessions(settings.group.calendar)
    except CalendarError as error:
        raise SettingsError(f"profile {path}: {error}") from error
    return settings


def _interval(group: dict[str, Any], path: Path) -> int:
    try:
        return msgspec.convert(group, GroupSettings).interval_ns
    except msgspec.ValidationError as error:
        raise SettingsError(f"profile {path}: {error} (in [group])") from error


def from_environment() -> tuple[Settings, list[Path], Path | None]:
    """Return settings, inputs and store for workers started by `python -m bytewax.run`.

    Reads NEXTGEN_PROFILE (default demo), NEXTGEN_SYMBOLS (comma separated), NEXTGEN_INPUTS
    (paths, separated as in PATH; default the profile's) and NEXTGEN_STORE (a file).
    """
    symbols = os.environ.get("NEXTGEN_SYMBOLS")
    settings = load_profile(
        os.environ.get("NEXTGEN_PROFILE", "demo"),
        symbols=tuple(symbols.split(",")) if symbols else None,
    )
    given = os.environ.get("NEXTGEN_INPUTS")
    inputs = [Path(part) for part in given.split(os.pathsep)] if given else demo_inputs(settings)
    store = os.environ.get("NEXTGEN_STORE")
    return settings, inputs, Path(store) if store else None


def demo_inputs(settings: Settings) -> list[Path]:
    """Return the profile's own recordings."""
    root = PROFILES.parent.parent
    return [root / file for file in settings.inputs.files]
