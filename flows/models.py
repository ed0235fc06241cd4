"""The trained models a group runs on, loaded and verified once for each process."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flows.settings import Settings, models_folder
from models import runtime
from models.finbert.scorer import Scorer
from models.lstm_transformer.forecaster import Forecaster
from models.ppo.actor import Actor
from models.schema import FEATURES, WINDOW


@dataclass(frozen=True)
class Models:
    """One model for each leg."""

    forecaster: Forecaster
    actor: Actor
    scorer: Scorer
    sentiment_skill: float
    sentiment_identity: str

    @property
    def identities(self) -> tuple[str, ...]:
        """Name and hash of each, in the order of the legs."""
        return (self.forecaster.identity, self.actor.artefact.identity, self.sentiment_identity)

    def score(self, text: str) -> tuple[float, float, float]:
        """Return the probabilities (negative, positive, neutral) of a headline."""
        sentiment = self.scorer.score(text)
        return sentiment.negative, sentiment.positive, sentiment.neutral


def load_models(settings: Settings, folder: Path | None = None) -> Models:
    """Load the group's models, and run each once so that the first bar finds them warm.

    `folder` holds the artefacts; by default NEXTGEN_MODELS, else the checkout's onnx/.

    Raises:
        models.runtime.ModelError: absent, altered, or made for another schema or interval.
    """
    group = settings.group
    folder = folder or models_folder()
    forecast = runtime.load(
        group.forecast, kind="forecast", interval=group.interval_ns, folder=folder
    )
    policy = runtime.load(group.policy, kind="policy", interval=group.interval_ns, folder=folder)
    sentiment = runtime.load(group.sentiment, kind="sentiment", folder=folder)
    try:
        models = Models(
            Forecaster(forecast),
            Actor(policy),
            Scorer.load(sentiment.entry, folder),
            float(sentiment.entry["skill"]["value"]),
            sentiment.identity,
        )
        _warm_up(models, max(len(settings.symbols), 1))
    except runtime.ModelError:
        raise
    except Exception as error:  # whatever ONNX Runtime or an odd entry may raise
        names = f"{group.forecast}, {group.policy} or {group.sentiment}"
        raise runtime.ModelSchemaMismatch(
            f"one of {names} is no model of its kind ({' '.join(str(error).split())}); restore "
            "onnx/ or run 'make train'"
        ) from error
    return models


def _warm_up(models: Models, rows: int) -> None:
    """Run each model once; the answers must have the shapes that the legs read."""
    features = np.zeros((rows, WINDOW, len(FEATURES)), np.float32)
    nothing, all_ready = np.zeros(rows, np.int64), np.ones(rows, np.bool_)
    forecast = models.forecaster.predict(features, np.ones(rows), all_ready)
    if forecast.quantiles.shape != (rows, 3) or forecast.p_up.shape != (rows,):
        raise runtime.ModelSchemaMismatch(
            f"model '{models.forecaster.identity}': expected 3 quantiles and P(up) a row, found "
            f"shapes {forecast.quantiles.shape} and {forecast.p_up.shape}; run 'make train'"
        )
    if models.actor.act(features, nothing, nothing, all_ready).shape != (rows, 3):
        raise runtime.ModelSchemaMismatch(
            f"model '{models.actor.artefact.identity}': expected 3 probabilities a row; run "
            "'make train'"
        )
    models.score("warm-up")
