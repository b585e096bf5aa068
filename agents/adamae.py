"""AdaMAE's sampler (Bandara et al. 2023): a self-attention block trained on the errors of hidden tokens."""

from typing import Any

import torch
from stable_baselines3 import A2C
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from tats_gym.agents.plackett_luce import PlackettLuce
from tats_gym.agents.rollout_buffer import MaskBatch, TokenRolloutBuffer
from tats_gym.agents.rollouts import TokenRollouts
from tats_gym.agents.subset_policy import ADAMW, PolicyOutput, SubsetPolicy
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.envs.spaces import TokenBox
from tats_gym.model.block import Block
from tats_gym.model.positions import sinusoid
from tats_gym.model.training import MAEOptimConfig
from tats_gym.model.videomae import initialise
from tats_gym.train.precision import autocast

NUM_HEADS = 8
DROPOUT = 0.1


class AdaMAEPolicy(SubsetPolicy):
    """Scores tokens by learned positions, one transformer block and a linear layer; has no value network.

    As in the published code: 8 heads, no biases on queries, keys and values, dropout .1 in training (on the outputs of
    attention and MLP, not within the MLP), positions that start at zero, a head that starts at random. The published
    sampler sees embeddings without positions: fixed sinusoidal ones are subtracted here, learned ones stay.

    Args:
        sinusoidal: Whether the tokens carry VideoMAE's sinusoidal positions.
        args: See `SubsetPolicy`.
        kwargs: See `SubsetPolicy`.
    """

    offset: Tensor
    estimates_value = False

    def __init__(self, *args: Any, sinusoidal: bool, **kwargs: Any) -> None:
        self.sinusoidal = sinusoidal
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        assert isinstance(self.observation_space, TokenBox)
        num_tokens, width = self.observation_space.shape
        if width % NUM_HEADS:
            raise ValueError(f"AdaMAE's sampler has {NUM_HEADS} heads, which must divide embed_dim, got {width}")
        offset = sinusoid(num_tokens, width) if self.sinusoidal else torch.zeros(1, 1)
        self.register_buffer("offset", offset, persistent=False)
        self.pos_embed = nn.Parameter(torch.zeros(1, num_tokens, width))
        self.block = Block(width, NUM_HEADS, qv_bias=False, dropout=DROPOUT, eps=1e-5)
        self.head = nn.Linear(width, 1)
        self.apply(initialise)
        self.make_optimizer(lr_schedule)

    def score(self, tokens: Tensor) -> tuple[PlackettLuce, Tensor]:
        """Return the distribution over masks for tokens (B, L, D), and values (B, 1) of zero."""
        with autocast(self.precision, self.device):
            logits = self.head(self.block(tokens - self.offset + self.pos_embed)).squeeze(-1)  # (B, L)
        return PlackettLuce(logits, self.num_visible), logits.new_zeros(len(logits), 1).float()

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {"sinusoidal": self.sinusoidal}


class AdaMAE(TokenRollouts, A2C):
    """AdaMAE's policy gradient: the loss is minus the mean over hidden tokens of log p_i times the token's error.

    p_i is the token's probability in a categorical over all L. There is no baseline and no entropy term; the
    coefficient is the published 1e-4, and does not change AdamW's steps. The published sampler is part of the MAE, so
    there are two departures: observations are detached, so that the loss does not reach the patch embedding; and the
    sampler has its own optimiser, AdamW with the published decay and a learning rate of its own (the published one is
    the MAE's, which the agent `adamae` takes too).

    Args:
        env: A `TokenSelectionVecEnv`.
        learning_rate: Of the sampler.
        n_steps: Environment steps in a rollout. The MAE is updated after each, the sampler after all of them.
        coef: Factor of the loss.
        masks_per_clip: Masks drawn of each clip; must equal the environment's.
        policy_kwargs: Arguments of `AdaMAEPolicy`.
        kwargs: Further arguments of `A2C`.
    """

    def __init__(
        self,
        env: TokenSelectionVecEnv,
        learning_rate: float | Schedule = MAEOptimConfig.base_lr,
        n_steps: int = 1,
        *,
        coef: float = 1e-4,
        masks_per_clip: int = 1,
        policy_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.coef = coef
        super().__init__(
            AdaMAEPolicy,
            env,
            learning_rate,
            n_steps,
            ent_coef=0.0,
            vf_coef=0.0,
            max_grad_norm=torch.inf,
            use_rms_prop=False,
            rollout_buffer_class=TokenRolloutBuffer,
            rollout_buffer_kwargs={"credit": "token", "baseline": "none", "masks_per_clip": masks_per_clip},
            policy_kwargs={
                "credit": "token",
                "masks_per_clip": masks_per_clip,
                "optimizer_kwargs": ADAMW,
                **(policy_kwargs or {}),
            },
            **kwargs,
        )

    def loss(self, batch: MaskBatch, scores: PolicyOutput) -> tuple[Tensor, dict[str, Tensor]]:
        """Return -coef * mean over predicted hidden tokens i of e_i log p_i, and the mean to log.

        Args:
            batch: B masks; advantages (B, M) are the errors.
            scores: The policy's `score` of the batch's observations under the current weights.
        """
        assert isinstance(self.policy, SubsetPolicy)
        _, log_prob, _ = self.policy.evaluate_scores(scores, batch.actions.long())  # (B, M)
        policy_loss = -(batch.advantages * log_prob * batch.predicted).sum() / batch.predicted.sum()
        return self.coef * policy_loss, {"policy_loss": policy_loss}
