"""AdaMAE's sampler (Bandara et al. 2023): a self-attention block trained on the errors of hidden tokens."""

from dataclasses import dataclass
from typing import Any

import torch
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.peers.error_trained import ErrorTrained
from tats_gym.agents.plackett_luce import PlackettLuce
from tats_gym.agents.requirements import with_settings
from tats_gym.agents.rollout_buffer import MaskBatch
from tats_gym.agents.schedule import mae_rate
from tats_gym.agents.subset_policy import PolicyOutput, SubsetPolicy
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.envs.spaces import TokenBox
from tats_gym.model.block import Block
from tats_gym.model.pos_embed import sinusoid
from tats_gym.model.videomae import MAEConfig, initialise
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals
from tats_gym.train.precision import autocast


@dataclass(frozen=True, kw_only=True)
class AdaMAEConfig:
    """AdaMAE's sampler and its loss; the defaults are those of the published code."""

    num_heads: int = 8
    """Attention heads; must divide embed_dim."""
    dropout: float = 0.1
    """Drop rate in training, of the outputs of attention and MLP, not within the MLP."""
    coef: float = 1e-4
    """Factor of the loss; does not change AdamW's steps."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_intervals(self, num_heads="[1, inf)", dropout="[0, 1)", coef="(0, inf)")


class AdaMAEPolicy(SubsetPolicy):
    """Scores tokens by learned position embeddings, one transformer block and a linear layer; has no value network.

    As in the published code: no biases on queries, keys and values, position embeddings that start at zero, a head that
    starts at random. The published sampler sees tokens without the MAE's: fixed sinusoidal ones are subtracted here,
    learned ones stay.

    Args:
        sinusoidal: Whether the tokens carry VideoMAE's sinusoidal position embeddings.
        config: The settings; the published ones if left out.
        args: See `SubsetPolicy`.
        kwargs: See `SubsetPolicy`.
    """

    offset: Tensor
    estimates_value = False

    def __init__(self, *args: Any, sinusoidal: bool, config: AdaMAEConfig | None = None, **kwargs: Any) -> None:
        self.sinusoidal, self.config = sinusoidal, config or AdaMAEConfig()
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        assert isinstance(self.observation_space, TokenBox)
        (num_tokens, width), num_heads = self.observation_space.shape, self.config.num_heads
        if width % num_heads:
            raise ValueError(f"AdaMAE's sampler has {num_heads} heads, which must divide embed_dim, got {width}")
        offset = sinusoid(num_tokens, width) if self.sinusoidal else torch.zeros(1, 1)
        self.register_buffer("offset", offset, persistent=False)
        self.pos_embed = nn.Parameter(torch.zeros(1, num_tokens, width))
        self.block = Block(width, num_heads, MAEConfig.mlp_ratio, qv_bias=False, dropout=self.config.dropout, eps=1e-5)
        self.head = nn.Linear(width, 1)
        self.apply(initialise)
        self.make_optimizer(lr_schedule)

    def score(self, tokens: Tensor) -> PolicyOutput:
        """Return the distribution over masks for tokens (B, L, D), and values (B, 1) of zero."""
        with autocast(self.precision, self.device):
            logits = self.head(self.block(tokens - self.offset + self.pos_embed)).squeeze(-1)  # (B, L)
        return PlackettLuce(logits, self.num_visible), logits.new_zeros(len(logits), 1).float()

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {"sinusoidal": self.sinusoidal, "config": self.config}


class AdaMAE(ErrorTrained):
    """AdaMAE's policy gradient: the loss is minus the mean over hidden tokens of log p_i times the token's error.

    p_i is the token's probability in a categorical over all L. There is no baseline and no entropy term. The published
    sampler is part of the MAE, so there are two departures: observations are detached, so that the loss does not reach
    the patch embedding; and the sampler has its own optimiser, AdamW with the published decay and a learning rate of
    its own (the published one is the MAE's, which the agent `adamae` takes too).

    Args:
        env: A `TokenSelectionVecEnv`.
        args: See `ErrorTrained`.
        config: The settings; the published ones if left out.
        kwargs: See `ErrorTrained`.
    """

    def __init__(
        self, env: TokenSelectionVecEnv, *args: Any, config: AdaMAEConfig | None = None, **kwargs: Any
    ) -> None:
        self.config = config or AdaMAEConfig()
        super().__init__(AdaMAEPolicy, env, *args, config=self.config, **kwargs)

    def loss(self, batch: MaskBatch, output: PolicyOutput) -> tuple[Tensor, dict[str, Tensor]]:
        """Return -coef * mean over predicted hidden tokens i of e_i log p_i, and the mean to log.

        Args:
            batch: B masks; advantages (B, M) are the errors.
            output: The policy's `score` of the batch's observations under the current weights.
        """
        assert isinstance(self.policy, SubsetPolicy)
        _, log_prob, _ = self.policy.evaluate_output(output, batch.actions.long())  # (B, M)
        policy_loss = -(batch.advantages * log_prob * batch.predicted).sum() / batch.predicted.sum()
        return self.config.coef * policy_loss, {"policy_loss": policy_loss}


@with_settings(AdaMAEConfig)
def build_adamae(env: TokenSelectionVecEnv, config: PretrainConfig, settings: AdaMAEConfig) -> AdaMAE:
    """Make AdaMAE, whose sampler has the learning rate of the MAE at every step."""
    sinusoidal = config.own_mae is None and config.mae.pos_embed == "sinusoid"
    return AdaMAE(
        env,
        mae_rate(env, config),
        config=settings,
        policy_kwargs={"precision": config.precision, "sinusoidal": sinusoidal},
        masks_per_clip=env.vector_env.config.masks_per_clip,
        seed=config.seed,
        device=env.vector_env.device,
    )
