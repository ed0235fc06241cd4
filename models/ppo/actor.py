"""Ask the trained policy: NumPy and ONNX Runtime, no torch."""

import numpy as np

from models.context import relative
from models.features import Floats, Singles
from models.ppo.rules import Flags, Integers, observe, preference_of
from models.runtime import Artefact, ModelError, rank
from models.schema import FEATURES

FLAT = np.array([0.0, 1.0, 0.0])  # what a symbol without a full window is given
INPUT, OUTPUT = "observation", "probabilities"


class Actor:
    """A policy artefact, loaded; the same inputs always give the same probabilities."""

    def __init__(self, artefact: Artefact) -> None:
        """Open the session; on the CPU always, as 31 kB of weights are not worth a GPU's call.

        Raises:
            ModelError: the graph takes another number of inputs.
        """
        self.artefact = artefact
        self._session = artefact.session()
        width = self._session.get_inputs()[0].shape[1]
        if width != len(FEATURES) + 2:
            raise ModelError(
                f"model '{artefact.name}': expected {len(FEATURES) + 2} inputs (features, "
                f"position, holding time), the graph takes {width}; run 'make train'"
            )
        self.relative = bool(artefact.entry.get("relative", False))
        self._ranks: list[float] = artefact.entry["ranks"]

    def act(self, features: Singles, position: Integers, held: Integers, ready: Flags) -> Floats:
        """Return the probabilities of the positions -1, 0, +1, (symbols, 3).

        `features` is (symbols, WINDOW, features), all symbols of the moment at once: a policy
        may read them against their mean. Only the last row is read, earlier bars reach the
        policy through the features. Rows not `ready` get a certain flat.
        """
        rows = features[:, -1:]
        if self.relative:
            rows = relative(rows, ready)
        observation = observe(rows[:, 0], position, held)
        (probabilities,) = self._session.run([OUTPUT], {INPUT: observation})
        return np.where(ready[:, None], probabilities.astype(np.float64), FLAT)

    def view(self, probabilities: Floats, ready: Flags) -> tuple[Floats, Floats]:
        """Return the leg's value in [-1, 1] and certainty in [0, 1], both (symbols,)."""
        return self.opinion(preference_of(probabilities), ready)

    def opinion(self, preference: Floats, ready: Flags) -> tuple[Floats, Floats]:
        """As `view`, from the preference `rules.preference_of`.

        Its sign, and its rank among the validation outputs. No habit of being long is taken
        off: the graph is symmetric, so it has none. Both are zero where not `ready`.
        """
        certainty = np.where(ready, rank(np.abs(preference), self._ranks), 0.0)
        return np.sign(preference) * certainty, certainty
