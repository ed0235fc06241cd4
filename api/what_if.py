"""What fusion and entry would have said of stored values, had a leg or a threshold been other."""

from typing import Any, Literal

import numpy as np

from operators.risk_settings import RiskSettings
from operators.sizing import VERDICTS, enter

type LEGS = Literal["forecast", "policy", "sentiment"]


def what_if(
    signal: dict[str, Any],
    settings: dict[str, float],
    *,
    drop: tuple[str, ...] = (),
    entry_score: float | None = None,
    minimum_confidence: float | None = None,
) -> dict[str, Any]:
    """Weigh a stored signal's legs again without `drop`, and judge it by other thresholds.

    The arithmetic is fusion's: prior times confidence, made to sum to one; the verdict is
    entry's own. Of `settings` come the priors and the thresholds that counted.
    """
    priors, confidences, values = {}, {}, {}
    for name, leg in signal["legs"].items():
        if name not in drop and not leg["abstains"]:
            priors[name] = settings[name]
            confidences[name] = leg["confidence"]
            values[name] = min(max(leg["value"], -1.0), 1.0)
    trusted = {name: priors[name] * confidences[name] for name in priors}
    total, spoken = sum(trusted.values()), sum(priors.values())
    weights = {name: trusted[name] / total if total else 0.0 for name in trusted}
    score = min(max(sum(weights[name] * values[name] for name in weights), -1.0), 1.0)
    confidence = total / spoken if spoken else 0.0
    entry = settings["entry_score"] if entry_score is None else entry_score
    least = settings["minimum_confidence"] if minimum_confidence is None else minimum_confidence
    verdict = _verdict(signal["position"], score, confidence, not total, settings, entry, least)
    given = next(each["why"] for each in signal["risk"] if each["step"] == "entry")
    return {
        "signal_id": signal["signal_id"],
        "dropped": list(drop),
        "score": score,
        "confidence": confidence,
        "weights": {name: weights.get(name, 0.0) for name in signal["legs"]},
        "entry_score": entry,
        "minimum_confidence": least,
        "verdict": verdict,
        "stands": given.startswith(f"{verdict}:"),
    }


def _verdict(
    position: float,
    score: float,
    confidence: float,
    silent: bool,
    settings: dict[str, float],
    entry: float,
    least: float,
) -> str:
    # Settings refuse thresholds that contradict each other; a question may ask for them.
    exit_score = min(settings["exit_score"], entry / 2.0)
    asked = RiskSettings(
        entry_score=max(entry, 1e-9), exit_score=exit_score, minimum_confidence=least
    )
    [code] = enter(
        np.array([score]),
        np.array([confidence]),
        np.array([silent]),
        np.sign(np.array([position])),
        asked,
    ).tolist()
    return VERDICTS[code]
