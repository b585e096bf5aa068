"""Actors and critics for stock off-policy algorithms, with weights shared by all tokens."""

import torch
from einops import einsum
from stable_baselines3.common.distributions import SquashedDiagGaussianDistribution
from stable_baselines3.common.policies import BaseModel, BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.sac.policies import LOG_STD_MAX, LOG_STD_MIN
from torch import Tensor, nn

from tats_gym.agents.policy import SamplerConfig, Trunk
from tats_gym.envs.spaces import ScoreBox, TokenBox
from tats_gym.train.precision import Precision, autocast

HEAD_INIT_STD = 0.01
"""Standard deviation of a new actor's last weights; at zero all tokens would tie and the first K be visible."""
SIGMOID_TEMPERATURE = 0.25
"""Temperature of the sigmoid whose gradient replaces that of the K highest scores, for scores in [-1, 1]."""


class TokenHead(nn.Module):
    """Maps tokens (B, L, D) to a few numbers for each (B, L, outputs), in float32.

    Args:
        tokens: Observation space.
        sampler: Architecture of the trunk; `critic` and `temperature` are unused.
        precision: Arithmetic of the trunk and the head.
        outputs: Numbers for each token.
    """

    def __init__(self, tokens: TokenBox, sampler: SamplerConfig, precision: Precision, outputs: int) -> None:
        super().__init__()
        self.precision = precision
        self.trunk = Trunk(sampler, tokens.shape[-1], tokens.grid_shape)
        self.head = nn.Linear(sampler.width or tokens.shape[-1], outputs)
        nn.init.normal_(self.head.weight, std=HEAD_INIT_STD)
        nn.init.zeros_(self.head.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, L, D) to (B, L, outputs)."""
        with autocast(self.precision, tokens.device):
            outputs: Tensor = self.head(self.trunk(tokens)).float()
        return outputs


class GaussianScores(BasePolicy):
    """SAC's and TQC's actor: a tanh-squashed Gaussian score for each token, independent given the clip.

    Args:
        tokens: Observation space.
        scores: Action space.
        sampler: See `TokenHead`.
        precision: See `TokenHead`.
        log_std_init: Initial logarithm of the scores' standard deviation before tanh.
    """

    def __init__(
        self, tokens: TokenBox, scores: ScoreBox, sampler: SamplerConfig, precision: Precision, *, log_std_init: float
    ) -> None:
        super().__init__(tokens, scores, squash_output=True)
        self.net = TokenHead(tokens, sampler, precision, outputs=2)
        self.log_std_init = log_std_init

    def mean_and_log_std(self, obs: PyTorchObs) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation before tanh, each (B, L), for tokens (B, L, D)."""
        mean, log_std = self.net(obs).unbind(-1)
        return mean, (log_std + self.log_std_init).clamp(LOG_STD_MIN, LOG_STD_MAX)

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> Tensor:
        """Score tokens (B, L, D): (B, L) in [-1, 1]."""
        mean, log_std = self.mean_and_log_std(obs)
        return self._distribution(mean).actions_from_params(mean, log_std, deterministic=deterministic)

    def action_log_prob(self, obs: PyTorchObs) -> tuple[Tensor, Tensor]:
        """Draw scores (B, L) in [-1, 1], and return their joint log-density (B,)."""
        mean, log_std = self.mean_and_log_std(obs)
        return self._distribution(mean).log_prob_from_params(mean, log_std)

    @staticmethod
    def _distribution(mean: Tensor) -> SquashedDiagGaussianDistribution:
        # A new one for each call: it keeps the graph of its last sample, and a module with a graph cannot be copied.
        return SquashedDiagGaussianDistribution(mean.shape[1])

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        scores: Tensor = self(observation, deterministic)
        return scores


class TanhScores(BasePolicy):
    """TD3's actor: a deterministic score for each token.

    Args:
        tokens: Observation space.
        scores: Action space.
        sampler: See `TokenHead`.
        precision: See `TokenHead`.
    """

    def __init__(self, tokens: TokenBox, scores: ScoreBox, sampler: SamplerConfig, precision: Precision) -> None:
        super().__init__(tokens, scores, squash_output=True)
        self.net = TokenHead(tokens, sampler, precision, outputs=1)

    def forward(self, obs: PyTorchObs) -> Tensor:
        """Score tokens (B, L, D): (B, L) in [-1, 1]."""
        return torch.tanh(self.net(obs).squeeze(-1))

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        scores: Tensor = self(observation)
        return scores


def straight_through_top_k(scores: Tensor, num_visible: int) -> Tensor:
    """Return 1 for the K highest of scores (B, L) and 0 for the others, with a straight-through gradient.

    The gradient is that of a sigmoid of each score minus the K-th highest. It is greatest at that threshold, and zero
    for a shift of all scores, since the threshold shifts with them.
    """
    highest = scores.topk(num_visible, dim=1)
    visible = torch.zeros_like(scores).scatter(1, highest.indices, 1.0)
    soft = torch.sigmoid((scores - highest.values[:, -1:]) / SIGMOID_TEMPERATURE)
    return visible + (soft - soft.detach())


class SetValue(nn.Module):
    """Values a set of visible tokens from the mean of their features and the mean of all tokens' features.

    Args:
        width: Width of the features.
        outputs: Numbers for each clip.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width), nn.GELU())
        self.both = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, outputs))

    def forward(self, features: Tensor, visible: Tensor) -> Tensor:
        """Map features (B, L, width) and visibility (B, L), 1 for visible tokens and 0 for others, to (B, outputs)."""
        tokens = self.each(features)  # (B, L, width)
        chosen = einsum(tokens, visible / visible.sum(1, keepdim=True), "b l w, b l -> b w")
        values: Tensor = self.both(torch.cat([chosen, tokens.mean(1)], dim=1))
        return values


class ScoreCritic(BaseModel):
    """Q-networks for the scores of a clip, on one shared trunk for the tokens.

    Like the reward, the Q-values depend on the scores through the mask alone; the actor's gradient passes through
    `straight_through_top_k`.

    Args:
        tokens: Observation space.
        scores: Action space.
        sampler: See `TokenHead`.
        precision: See `TokenHead`.
        n_critics: Number of Q-networks.
        outputs: Numbers that each returns for a clip.
    """

    def __init__(
        self,
        tokens: TokenBox,
        scores: ScoreBox,
        sampler: SamplerConfig,
        precision: Precision,
        *,
        n_critics: int,
        outputs: int = 1,
    ) -> None:
        super().__init__(tokens, scores)
        self.precision, self.num_visible, self.n_critics = precision, scores.num_visible, n_critics
        self.trunk = Trunk(sampler, tokens.shape[-1], tokens.grid_shape)
        width = sampler.width or tokens.shape[-1]
        self.q_networks = nn.ModuleList(SetValue(width, outputs) for _ in range(n_critics))

    def forward(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, ...]:
        """Return the Q-values (B, outputs) of scores (B, L) for tokens (B, L, D), one tensor for each network."""
        return self.q_values(obs, actions, self.n_critics)

    def q1_forward(self, obs: Tensor, actions: Tensor) -> Tensor:
        """Return the first network's Q-values (B, outputs)."""
        return self.q_values(obs, actions, 1)[0]

    def q_values(self, tokens: Tensor, scores: Tensor, networks: int) -> tuple[Tensor, ...]:
        """Return Q-values (B, outputs) of scores (B, L) in [-1, 1], one tensor for each of the first `networks`."""
        visible = straight_through_top_k(scores, self.num_visible)
        with autocast(self.precision, tokens.device):
            features = self.trunk(tokens)  # (B, L, width)
            return tuple(network(features, visible).float() for network in self.q_networks[:networks])
