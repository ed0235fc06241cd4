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

from connectors.alerts.settings import DeliverySettings
from connectors.secrets import Secret
from models.bar_files import Label
from models.calendars import CalendarError, sessions
from models.inference import Device
from models.ppo.rules import PositionRules, rules_for
from models.runtime import ONNX, ModelError, read_manifest
from operators.alert_settings import AlertRules, ProcessRules
from operators.bars import BarSettings
from operators.clocks import ClockSettings
from operators.errors import SettingsError
from operators.forecast import ForecastSettings
from operators.fusion import FusionSettings
from operators.messages import SECOND
from operators.model_age import ModelAgeSettings
from operators.portfolio import CostSettings
from operators.quality_memory import QualityLimits
from operators.risk_settings import RiskSettings
from operators.sentiment import SentimentSettings

PROFILES = Path(__file__).resolve().parent / "profiles"
LATE_BARS = 15  # that a late trade may still repair where no hole is known
LIVE_TABLES = ("live", "feeds")  # see flows/feeds.py
_UNITS = {"s": SECOND, "m": 60 * SECOND}


class GroupSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Symbols that share interval, calendar and models."""

    symbols: tuple[str, ...] = ()  # none: --symbols must name them, or "all"
    interval: str = "1s"
    calendar: str = "24/7"  # a name of exchange_calendars, or 24/7
    forecast: str = "forecast_1s"
    policy: str = "policy_1s"
    # One model a language; languages without one are read by a word list.
    sentiment: tuple[str, ...] = ("sentiment_en", "sentiment_ja")
    simulated: bool = False  # every row of the run says so

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
    label: Label = "close"  # which end of the bar its time is
    # Take the recorder's clock error from the first trades of the recording, instead of
    # clock.receive_offset_ns; for recordings of unknown origin.
    estimate_receive_offset: bool = False
    files: tuple[str, ...] = ()  # what the demo replays, relative to the checkout


class AlertSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What people are told of, and how."""

    rules: AlertRules = AlertRules()  # of the stream
    process: ProcessRules = ProcessRules()  # of what is watched beside it
    delivery: DeliverySettings = DeliverySettings()


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a run is configured by."""

    profile: str = "default"
    group: GroupSettings = GroupSettings()
    inputs: InputSettings = InputSettings()
    clock: ClockSettings = ClockSettings()
    quality: QualityLimits = QualityLimits()
    bars: BarSettings = BarSettings()
    sentiment: SentimentSettings = SentimentSettings()
    models: ModelAgeSettings = ModelAgeSettings()
    forecast: ForecastSettings = ForecastSettings()
    policy: PositionRules = PositionRules()
    fusion: FusionSettings = FusionSettings()
    risk: RiskSettings = RiskSettings()
    costs: CostSettings = CostSettings()
    alerts: AlertSettings = AlertSettings()
    checkpoint_every: int = 60  # bars; explain replays at most this many

    def __post_init__(self) -> None:
        """Refuse values that no run could work with."""
        if self.checkpoint_every < 1:
            raise ValueError("checkpoint_every must be at least 1")
        if self.clock.lateness_ns < 0 or self.clock.plausible_ns <= 0:
            raise ValueError("clock.lateness_ns must be at least 0, plausible_ns above it")
        if self.clock.max_fill_bars < 1:
            raise ValueError("clock.max_fill_bars must be at least 1")

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
            "bars": self.bars,
            "sentiment": self.sentiment,
            "models": self.models,
            "forecast": self.forecast,
            "policy": self.policy,
            "fusion": self.fusion,
            "risk": self.risk,
            "costs": self.costs,
        }
        if self.group.simulated:
            deciding["simulated"] = True
        return hashlib.sha256(msgspec.json.encode(deciding, order="sorted")).hexdigest()[:16]


def with_receive_offset(settings: Settings, offset: int) -> Settings:
    """Return the settings for a recorder that ran `offset` ns behind the venue."""
    return msgspec.structs.replace(
        settings,
        clock=msgspec.structs.replace(settings.clock, receive_offset_ns=offset),
        quality=msgspec.structs.replace(settings.quality, receive_offset_ns=offset),
    )


def for_own_log(settings: Settings) -> Settings:
    """Return the settings for a log with a sequencer's Clocks: a live one, or one recorded.

    Its times are of one clock, and what comes late repairs the bars that it belongs to.
    """
    replace = msgspec.structs.replace
    return replace(
        settings,
        clock=replace(settings.clock, infer=False, receive_offset_ns=0),
        quality=replace(settings.quality, repairs_late=True, receive_offset_ns=0),
        bars=replace(settings.bars, least_bars=LATE_BARS),
    )


def profile_names() -> list[str]:
    """Return the shipped profiles."""
    return sorted(path.stem for path in PROFILES.glob("*.toml"))


def load_profile(name: str, *, symbols: tuple[str, ...] | None = None) -> Settings:
    """Read what decides in a profile, by name or path; `symbols` replaces its universe.

    Raises:
        SettingsError: no such profile, no TOML, an unknown key or an impossible value.
    """
    path, document = _document(name)
    aliases = _aliases(document, path)
    for table in LIVE_TABLES:
        document.pop(table, None)
    group = document.setdefault("group", {})
    if symbols is not None and isinstance(group, dict):
        group["symbols"] = list(symbols)
    _share(document, path)
    if aliases:
        document["clock"].setdefault("aliases", aliases)
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


def _aliases(document: dict[str, Any], path: Path) -> dict[str, str]:
    """Return our symbols by what feeds call them: normalised messages carry the latter."""
    try:
        names = msgspec.convert(
            document.get("feeds", {}).get("names", {}), dict[str, dict[str, str]]
        )
    except (AttributeError, msgspec.ValidationError) as error:
        raise SettingsError(f"profile {path}: feeds.names: {error}") from error
    return {theirs: ours for feed in names.values() for ours, theirs in feed.items()}


def live_tables(name: str) -> tuple[Path, dict[str, Any]]:
    """Return the tables of a profile that say where a live run's input comes from.

    Raises:
        SettingsError: no such profile, or no TOML.
    """
    path, document = _document(name)
    return path, {table: document[table] for table in LIVE_TABLES if table in document}


def _document(name: str) -> tuple[Path, dict[str, Any]]:
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
    return path, document


def _share(document: dict[str, Any], path: Path) -> None:
    """Hand what several parts must agree on to each of them, from the one place it is set."""
    try:
        group = msgspec.convert(document["group"], GroupSettings)
    except msgspec.ValidationError as error:
        raise SettingsError(f"profile {path}: {error} (in [group])") from error
    names = ("clock", "quality", "bars", "policy")
    parts = {part: document.setdefault(part, {}) for part in names}
    if not all(isinstance(values, dict) for values in parts.values()):
        raise SettingsError(f"profile {path}: {', '.join(parts)} must be tables")
    shared: dict[str, dict[str, Any]] = {
        "clock": {"interval_ns": group.interval_ns},
        "quality": {"interval_ns": group.interval_ns},
        "bars": {"interval_ns": group.interval_ns, "calendar": group.calendar},
    }
    if "receive_offset_ns" in parts["clock"]:
        shared["quality"]["receive_offset_ns"] = parts["clock"]["receive_offset_ns"]
    # The rules the policy was trained under, where the profile does not say otherwise.
    document["policy"] = {**_trained_rules(group), **parts["policy"]}
    for part, values in shared.items():
        for key, value in values.items():
            if key in parts[part]:
                home = "[clock]" if key == "receive_offset_ns" else "[group]"
                raise SettingsError(f"profile {path}: {part}.{key} is set in {home} for all")
            parts[part][key] = value


def _trained_rules(group: GroupSettings) -> dict[str, Any]:
    """Return the position rules that the manifest gives the group's policy.

    Without such an entry, those a training would begin with: loading the models says what is
    amiss, and a command that needs none goes on.
    """
    try:
        rules: dict[str, Any] = read_manifest(models_folder())[group.policy]["rules"]
    except (ModelError, KeyError):
        rules = msgspec.to_builtins(rules_for(group.interval_ns))
    return rules


def models_folder() -> Path:
    """Return where the trained artefacts are: NEXTGEN_MODELS, else the checkout's onnx/."""
    return Path(os.environ.get("NEXTGEN_MODELS") or ONNX)


def inference_device() -> Device:
    """Return where the forecast runs: NEXTGEN_DEVICE, which is cpu, cuda or auto; else the CPU.

    Raises:
        SettingsError: it is none of these.
    """
    found = os.environ.get("NEXTGEN_DEVICE") or "cpu"
    try:
        return msgspec.convert(found, Device)
    except msgspec.ValidationError:
        raise SettingsError(
            f"NEXTGEN_DEVICE: expected cpu, cuda or auto, found '{found}'"
        ) from None


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


def secret_from_environment(name: str) -> str | None:
    """Return the key in NEXTGEN_`name`, or what the file named by NEXTGEN_`name`_FILE holds.

    Raises:
        SettingsError: that file cannot be read.
    """
    file = os.environ.get(f"NEXTGEN_{name}_FILE")
    if file is None:
        return os.environ.get(f"NEXTGEN_{name}") or None
    try:
        return Path(file).read_text("utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"NEXTGEN_{name}_FILE names a file that cannot be read") from None


class SecretPlaces(msgspec.Struct, frozen=True):
    """Where secrets are kept, and where their key is; see flows/secret_lookup.py."""

    file: Path
    default_key_file: Path
    key: Secret | None
    key_file: Path | None


def secret_places() -> SecretPlaces:
    """Return them: NEXTGEN_SECRETS_FILE, NEXTGEN_SECRETS_KEY, NEXTGEN_SECRETS_KEY_FILE.

    By default file and key are in nextgen/ of the user's configuration.
    """
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    folder = Path(home) / "nextgen"
    key, key_file = (os.environ.get(f"NEXTGEN_SECRETS_KEY{end}") for end in ("", "_FILE"))
    return SecretPlaces(
        file=Path(os.environ.get("NEXTGEN_SECRETS_FILE") or folder / "secrets.json"),
        default_key_file=folder / "secrets.key",
        key=Secret(key) if key else None,
        key_file=Path(key_file) if key_file else None,
    )


def demo_inputs(settings: Settings) -> list[Path]:
    """Return the profile's own recordings."""
    root = PROFILES.parent.parent
    return [root / file for file in settings.inputs.files]
