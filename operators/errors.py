"""The engine's exceptions: broken code or setup, never bad data (that is a `Rejection`)."""


class EngineError(Exception):
    """Stop with one clear sentence: what was expected, what was found, what to do."""


class SettingsError(EngineError):
    """A profile, option or environment variable that cannot be used."""


class InputError(EngineError):
    """An input that is missing or of no known format."""


class StoreError(EngineError):
    """A store that cannot be opened, or that holds another run."""


class ExplanationError(EngineError):
    """A stored signal that its own inputs do not give again."""


class SecretsError(EngineError):
    """Secrets that cannot be read or kept: the key, the file, or what is asked of it."""
