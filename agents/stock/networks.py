"""Networks for stock off-policy algorithms: actors that score all tokens alike, and critics that judge the scores."""

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

SMALL = 0.01
"""Deviation of a new actor's last weights: small, but not zero, where tokens would tie and the first ones be shown."""
SOFTNESS = 0.25
"""How far from the threshold a score in [-1, 1] still feels what showing or hiding its token would change."""


class TokenHead(nn.Module):
    """Tokens (B, L, D) in, a few numbers for each out (B, L, outputs), in float32.

    Args:
        tokens: The space of observations.
        sampler: The architecture; `critic` and `temperature` have no part in it.
        precision: Its arithmetic.
        outputs: Numbers for a token.
    """

    def __init__(self, tokens: TokenBox, sampler: SamplerConfig, precision: Precision, outputs: int) -> None:
        super().__init__()
        self.precision = precision
        self.trunk = Trunk(sampler, tokens.shape[-1], tokens.grid_shape)
        self.head = nn.Linear(sampler.width or tokens.shape[-1], outputs)
        nn.init.normal_(self.head.weight, std=SMALL)
        nn.init.zeros_(self.head.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, L, D) to (B, L, outputs)."""
        with autocast(self.precision, tokens.device):
            outputs: Tensor = self.head(self.trunk(tokens)).float()
        return outputs


class GaussianScores(BasePolicy):
    """SAC's and TQC's actor: a normal score for each token, squashed by tanh, independent given the clip.

    Args:
        tokens: The space of observations.
        scores: The space of actions.
        sampler: See `TokenHead`.
        precision: See `TokenHead`.
        log_std_init: Logarithm of the scores' deviation before tanh, at the start.
    """

    def __init__(
        self, tokens: TokenBox, scores: ScoreBox, sampler: SamplerConfig, precision: Precision, *, log_std_init: float
    ) -> None:
        super().__init__(tokens, scores, squash_output=True)
        self.net = TokenHead(tokens, sampler, precision, outputs=2)
        self.log_std_init = log_std_init

    def mean_and_log_std(self, obs: PyTorchObs) -> tuple[Tensor, Tensor]:
        """Return both (B, L) for tokens (B, L, D), before tanh."""
        mean, log_std = self.net(obs).unbind(-1)
        return mean, (log_std + self.log_std_init).clamp(LOG_STD_MIN, LOG_STD_MAX)

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> Tensor:
        """Score tokens (B, L, D): (B, L) in [-1, 1]."""
        mean, log_std = self.mean_and_log_std(obs)
        return self._distribution(mean).actions_from_params(mean, log_std, deterministic=deterministic)

    def action_log_prob(self, obs: PyTorchObs) -> tuple[Tensor, Tensor]:
        """Draw scores (B, L) in [-1, 1], and return the log-density (B,) of all L together."""
        mean, log_std = self.mean_and_log_std(obs)
        return self._distribution(mean).log_prob_from_params(mean, log_std)

    @staticmethod
    def _distribution(mean: Tensor) -> SquashedDiagGaussianDistribution:
        # A new one each time: it keeps the graph of its last answer, and a module that holds a graph cannot be copied.
        return SquashedDiagGaussianDistribution(mean.shape[1])

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        scores: Tensor = self(observation, deterministic)
        return scores


class TanhScores(BasePolicy):
    """TD3's actor: a score for each token, without chance.

    Args:
        tokens: The space of observations.
        scores: The space of actions.
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


def visible(scores: Tensor, num_visible: int) -> Tensor:
    """Return 1 for the K highest of scores (B, L), 0 for the others, with a gradient.

    It is that of a sigmoid of what a score exceeds the K-th highest by: greatest there, and as the threshold moves with
    the scores, adding the same to all of them changes nothing.
    """
    highest = scores.topk(num_visible, dim=1)
    shown = torch.zeros_like(scores).scatter(1, highest.indices, 1.0)
    soft = torch.sigmoid((scores - highest.values[:, -1:]) / SOFTNESS)
    return shown + (soft - soft.detach())


class SetValue(nn.Module):
    """Judges a set of visible tokens: by the mean of what a network makes of them, beside the mean over all tokens.

    Args:
        width: Of the tokens' features.
        outputs: Numbers for a clip.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width), nn.GELU())
        self.both = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, outputs))

    def forward(self, features: Tensor, shown: Tensor) -> Tensor:
        """Map features (B, L, width) and which tokens are shown (B, L), as 0 or 1, to (B, outputs)."""
        tokens = self.each(features)  # (B, L, width)
        chosen = einsum(tokens, shown / shown.sum(1, keepdim=True), "b l w, b l -> b w")
        judged: Tensor = self.both(torch.cat([chosen, tokens.mean(1)], dim=1))
        return judged


class ScoreCritic(BaseModel):
    """Several networks that judge the scores of a clip, upon one trunk for the tokens.

    The reward depends on the scores through the mask alone, and so does their answer; see `visible` for what the actor
    learns from it.

    Args:
        tokens: The space of observations.
        scores: The space of actions.
        sampler: See `TokenHead`.
        precision: See `TokenHead`.
        n_critics: Networks.
        outputs: Numbers that each gives for a clip.
    """

    def __init__(
        self,
        tokens: TokenBox,
        scores: ScoreBox,
        sampler: SamplerConfig,
        precision: Precision,
        *,
        n_critics: int = 2,
        outputs: int = 1,
    ) -> None:
        super().__init__(tokens, scores)
        self.precision, self.num_visible, self.n_critics = precision, scores.num_visible, n_critics
        self.trunk = Trunk(sampler, tokens.shape[-1], tokens.grid_shape)
        width = sampler.width or tokens.shape[-1]
        self.q_networks = nn.ModuleList(SetValue(width, outputs) for _ in range(n_critics))

    def forward(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, ...]:
        """Judge scores (B, L) for tokens (B, L, D): (B, outputs) of each network."""
        return self.judge(obs, actions, self.n_critics)

    def q1_forward(self, obs: Tensor, actions: Tensor) -> Tensor:
        """The first network's answer alone, (B, outputs)."""
        return self.judge(obs, actions, 1)[0]

    def judge(self, tokens: Tensor, scores: Tensor, networks: int) -> tuple[Tensor, ...]:
        """Let the first few networks judge scores (B, L) in [-1, 1] for tokens (B, L, D): (B, outputs) of each."""
        shown = visible(scores, self.num_visible)
        with autocast(self.precision, tokens.device):
            features = self.trunk(tokens)  # (B, L, width)
            return tuple(network(features, shown).float() for network in self.q_networks[:networks])
