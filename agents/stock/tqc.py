"""Builds sb3-contrib's TQC, unmodified, with SAC's per-token networks and critics that return quantiles."""

from typing import Any

import torch
from sb3_contrib import TQC
from sb3_contrib.tqc.policies import TQCPolicy
from torch import Tensor

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.stock.networks import GaussianScores, ScoreCritic
from tats_gym.agents.stock.off_policy import entropy_settings, off_policy_settings, with_replay
from tats_gym.agents.stock.policies import LOG_STD_INIT, ScorePolicy
from tats_gym.envs.sb3 import TokenSelectionVecEnv


class QuantileCritic(ScoreCritic):
    """`ScoreCritic` for TQC: returns the quantiles of all networks in one tensor."""

    def __init__(self, *parts: Any, n_critics: int, n_quantiles: int) -> None:
        super().__init__(*parts, n_critics=n_critics, outputs=n_quantiles)
        self.n_quantiles, self.quantiles_total = n_quantiles, n_quantiles * n_critics

    def forward(self, obs: Tensor, actions: Tensor) -> Tensor:  # type: ignore[override]
        """Return quantiles (B, n_critics, n_quantiles) for scores (B, L) of tokens (B, L, D)."""
        return torch.stack(super().forward(obs, actions), dim=1)


class TokenTQCPolicy(ScorePolicy, TQCPolicy):
    """Policy of `sb3_contrib.TQC`; takes the arguments of `ScorePolicy`, `log_std_init` and `n_quantiles`."""

    known_settings = (*ScorePolicy.known_settings, "log_std_init", "n_quantiles")

    def make_actor(self, features_extractor: Any = None) -> GaussianScores:  # type: ignore[override]
        """Make the actor; there is no features extractor."""
        log_std_init = self.settings.get("log_std_init", LOG_STD_INIT)
        return GaussianScores(*self.parts, log_std_init=log_std_init).to(self.device)

    def make_critic(self, features_extractor: Any = None) -> QuantileCritic:  # type: ignore[override]
        """Make the critics; there is no features extractor."""
        n_critics, n_quantiles = self.critic_kwargs["n_critics"], self.critic_kwargs["n_quantiles"]
        return QuantileCritic(*self.parts, n_critics=n_critics, n_quantiles=n_quantiles).to(self.device)


def build_tqc(env: TokenSelectionVecEnv, config: PretrainConfig) -> TQC:
    """Make sb3-contrib's TQC."""
    agent = TQC(TokenTQCPolicy, env, **off_policy_settings(env, config), **entropy_settings(env, config))
    return with_replay(agent, env)
