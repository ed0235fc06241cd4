"""The policy network: what stable-baselines3 trains, and the graph that is exported."""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from models.features import Singles
from models.ppo.market import SIGNS

LAYERS = (64, 64)


class Standardise(BaseFeaturesExtractor):
    """Shift and scale each input by constants of the training data, kept in the graph."""

    def __init__(self, observation_space: spaces.Box, mean: Singles, scale: Singles) -> None:
        """Use `mean` and `scale`, (features + 2,)."""
        super().__init__(observation_space, features_dim=len(mean))
        self.register_buffer("mean", torch.as_tensor(mean))
        self.register_buffer("scale", torch.as_tensor(scale))

    def forward(self, observations: Tensor) -> Tensor:
        """Return the standardised observations, clipped at 5 scales."""
        return ((observations - self.mean) / self.scale).clamp(-5.0, 5.0)


class PolicyGraph(nn.Module):
    """Observation (symbols, features + 2) -> probabilities (symbols, 3); what ONNX holds.

    The answer is the mean (of log-odds) of what the network says to the market as it is and,
    turned round, to the market upside down. So it has no habit of being long or short: training
    on mirrored markets takes the reward from such a habit, but nothing that would wear it off.
    """

    def __init__(self, mean: Singles, scale: Singles) -> None:
        """Make an untrained graph; `load_state_dict` gives it its weights."""
        super().__init__()
        self.register_buffer("mean", torch.as_tensor(mean))
        self.register_buffer("scale", torch.as_tensor(scale))
        # Position changes its side with the market; how long it has stood does not.
        signs = torch.as_tensor([*SIGNS, -1.0, 1.0], dtype=torch.float32)
        self.register_buffer("signs", signs, persistent=False)
        width = len(mean)
        self.body = nn.Sequential(
            nn.Linear(width, LAYERS[0]),
            nn.Tanh(),
            nn.Linear(LAYERS[0], LAYERS[1]),
            nn.Tanh(),
        )
        self.head = nn.Linear(LAYERS[1], 3)

    def forward(self, observation: Tensor) -> Tensor:
        """Return the probabilities of the positions -1, 0, +1."""
        upright, turned = self._logits(observation), self._logits(observation * self.signs)
        both = upright + torch.stack((turned[:, 2], turned[:, 1], turned[:, 0]), dim=1)
        return torch.softmax(both / 2.0, dim=1)

    def _logits(self, observation: Tensor) -> Tensor:
        """Return what the network says to one side of the market, normalised."""
        standard = ((observation - self.mean) / self.scale).clamp(-5.0, 5.0)
        logits: Tensor = torch.log_softmax(self.head(self.body(standard)), dim=1)
        return logits


def standardisation(features: Singles) -> tuple[Singles, Singles]:
    """Return mean and scale of the inputs, (features + 2,); position and time stay as they are.

    The scale has a floor: a feature that hardly moves in training must not explode elsewhere.
    """
    mean = features.mean(0, dtype=np.float64)
    scale = np.maximum(features.std(0, dtype=np.float64), 0.1)
    full = np.r_[mean, 0.0, 0.0], np.r_[scale, 1.0, 1.0]
    return full[0].astype(np.float32), full[1].astype(np.float32)


def policy_arguments(mean: Singles, scale: Singles) -> dict[str, Any]:
    """Return what PPO's MlpPolicy needs to build the network that `graph_of` exports."""
    return {
        "net_arch": {"pi": list(LAYERS), "vf": list(LAYERS)},
        "activation_fn": nn.Tanh,
        "features_extractor_class": Standardise,
        "features_extractor_kwargs": {"mean": mean, "scale": scale},
    }


def graph_of(model: PPO) -> PolicyGraph:
    """Copy the actor of a trained PPO model into the graph that is exported."""
    state = model.policy.state_dict()
    mean, scale = state["features_extractor.mean"], state["features_extractor.scale"]
    graph = PolicyGraph(mean.numpy(), scale.numpy())
    graph.load_state_dict(
        {
            "mean": mean,
            "scale": scale,
            **{
                f"body.{index}.{part}": state[f"mlp_extractor.policy_net.{index}.{part}"]
                for index in (0, 2)
                for part in ("weight", "bias")
            },
            "head.weight": state["action_net.weight"],
            "head.bias": state["action_net.bias"],
        }
    )
    return graph.eval()


def torch_probabilities(graph: PolicyGraph, observations: Singles) -> Singles:
    """Run the graph in torch on (symbols, features + 2)."""
    with torch.inference_mode():
        result: Singles = graph(torch.from_numpy(observations)).numpy()
    return result
