"""The trained models a group runs on, loaded and verified once for each process."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flows.settings import Settings, inference_device, models_folder
from models import runtime
from models.finbert.readers import Readers
from models.finbert.scorer import Scorer
from models.lstm_transformer.forecaster import Forecaster
from models.ppo.actor import Actor
from models.schema import FEATURES, WINDOW
from operators.headlines import Probabilities


@dataclass(frozen=True)
class Models:
    """One model for each leg."""

    forecaster: Forecaster
    actor: Actor
    readers: Readers

    @property
    def sentiment_skill(self) -> float:
        """Return the least of the sentiment models' skills; a word list alone has none."""
        skills = [float(entry["skill"]["value"]) for entry in self.readers.entries]
        return min(skills, default=0.0)

    @property
    def sentiment_identity(self) -> str:
        """Name and hash of each sentiment model, or the name of the word list, by language."""
        return "+".join(self.readers.identities.values())

    @property
    def identities(self) -> tuple[str, ...]:
        """Name and hash of each, in the order of the legs."""
        return (self.forecaster.identity, self.actor.artefact.identity, self.sentiment_identity)

    def read(self, text: str, lang: str, about: str) -> tuple[Probabilities, str] | None:
        """Return a headline's (negative, positive, neutral) and who says so; None: nobody."""
        reading = self.readers.read(text, lang, about)
        if reading is None:
            return None
        found = reading.sentiment
        return (found.negative, found.positive, found.neutral), reading.model


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
    sentiments = [runtime.load(name, kind="sentiment", folder=folder) for name in group.sentiment]
    try:
        models = Models(
            Forecaster(forecast, device=inference_device()),
            Actor(policy),
            Readers(Scorer.load(sentiment.entry, folder) for sentiment in sentiments),
        )
        _warm_up(models, max(len(settings.symbols), 1))
    except runtime.ModelError:
        raise
    except Exception as error:  # whatever ONNX Runtime or an odd entry may raise
        names = f"{group.forecast}, {group.policy} or {', '.join(group.sentiment)}"
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
    for lang in models.readers.by_lang:
        models.read("warm-up", lang, "")
