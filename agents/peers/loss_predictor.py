"""Hard Patches Mining (Wang et al. 2023): a network predicts which tokens have high errors, and masks hide these."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn
from torch.nn import functional as F

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.peers.error_trained import ErrorTrained
from tats_gym.agents.plackett_luce import PlackettLuce
from tats_gym.agents.policy import SamplerConfig, Trunk
from tats_gym.agents.requirements import with_settings
from tats_gym.agents.rollout_buffer import MaskBatch
from tats_gym.agents.schedule import mae_rate
from tats_gym.agents.subset_policy import PolicyOutput, SubsetPolicy
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.envs.spaces import TokenBox
from tats_gym.masks import hidden_by
from tats_gym.model.videomae import initialise
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals
from tats_gym.train.precision import autocast, to_float32

Show = Literal["easy", "hard"]

EXCLUDED = -1e4
"""Logit of an excluded token, which is drawn only where fewer than K others are left. Theirs is 0."""


@dataclass(frozen=True, kw_only=True)
class LossPredictorConfig:
    """The masks, from easy to hard, and the predictor's loss; but for `pairs`, the defaults are the published ones."""

    show: Show = "easy"
    """easy: hides the tokens of the highest predicted errors. hard: hides those of the lowest."""
    start: float = 0.0
    """Share of the hidden tokens that the predictor chooses at the start of training; the others are random."""
    end: float = 0.5
    """The same share at the end of training; in between it changes linearly with the masks."""
    pairs: int = 64
    """Other hidden tokens with which the loss compares each hidden token; all of them where there are fewer."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_intervals(self, start="[0, 1]", end="[0, 1]", pairs="[1, inf)")


class PartlyRandomMasks(PlackettLuce):
    """Excludes a share of the tokens that are to be hidden, and draws K of the others, each subset equally likely.

    Args:
        hardness: (B, L), the higher the harder; with a graph, for the loss.
        num_visible: K.
        share: Share (a scalar) of the M hidden tokens that are excluded.
        show: "easy" excludes the hardest tokens, "hard" the easiest.
    """

    def __init__(self, hardness: Tensor, num_visible: int, *, share: Tensor, show: Show) -> None:
        self.hardness, self.share, self.show = hardness, share, show
        rank = hardness.argsort(1, descending=show == "easy").argsort(1)
        self.excluded = rank < (share * (hardness.shape[1] - num_visible)).round()  # (B, L)
        super().__init__(EXCLUDED * self.excluded, num_visible)

    def showing(self, num_visible: int) -> "PartlyRandomMasks":
        """Return the distribution over masks with this number of visible tokens."""
        return PartlyRandomMasks(self.hardness, num_visible, share=self.share, show=self.show)

    def repeated(self, times: int) -> "PartlyRandomMasks":
        """Return the distribution with each row repeated in `times` consecutive rows: (B * times, L)."""
        hardness = self.hardness.repeat_interleave(times, 0)
        return PartlyRandomMasks(hardness, self.num_visible, share=self.share, show=self.show)


class LossPredictorPolicy(SubsetPolicy):
    """Predicts the hardness of each token by the sampler's network.

    Masks hide M tokens: a share of them the hardest, or the easiest, the others random.

    Args:
        sampler: The network's architecture, see `TatsPolicy`.
        config: The masks.
        args: See `SubsetPolicy`.
        kwargs: See `SubsetPolicy`.
    """

    share: Tensor
    """The present share, which `LossPredictor` sets."""
    estimates_value = False
    scores_alike_in_training = True
    grades_tokens = False

    def __init__(
        self,
        *args: Any,
        sampler: SamplerConfig | None = None,
        config: LossPredictorConfig | None = None,
        **kwargs: Any,
    ) -> None:
        self.sampler, self.config = sampler or SamplerConfig(), config or LossPredictorConfig()
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        assert isinstance(self.observation_space, TokenBox)
        embed_dim, grid_shape = self.observation_space.shape[-1], self.observation_space.grid_shape
        self.trunk = Trunk(self.sampler, embed_dim, grid_shape)
        self.head = nn.Linear(self.sampler.width or embed_dim, 1)
        self.register_buffer("share", torch.tensor(float(self.config.start)))
        self.apply(initialise)
        self.make_optimizer(lr_schedule)

    def score(self, tokens: Tensor) -> PolicyOutput:
        """Return the distribution over masks for tokens (B, L, D), and values (B, 1) of zero."""
        with autocast(self.precision, self.device):
            hardness = self.head(self.trunk(tokens)).squeeze(-1)  # (B, L)
        return self._masks(to_float32(hardness))

    def _masks(self, hardness: Tensor) -> PolicyOutput:
        masks = PartlyRandomMasks(hardness, self.num_visible, share=self.share, show=self.config.show)
        return masks, torch.zeros_like(hardness[:, :1])

    def concatenated(self, outputs: Sequence[PolicyOutput]) -> PolicyOutput:
        """Concatenate the results of several calls of `score`, in the order of the clips."""
        return self._masks(torch.cat([hardness_of(output) for output in outputs]))

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {"sampler": self.sampler, "config": self.config}


def hardness_of(output: PolicyOutput) -> Tensor:
    """Return the hardness (B, L) that `LossPredictorPolicy.score` predicted."""
    assert isinstance(output[0], PartlyRandomMasks)
    return output[0].hardness


def pairwise_loss(hardness: Tensor, errors: Tensor, counted: Tensor, pairs: int) -> tuple[Tensor, Tensor]:
    """Return the loss of predicting which of two tokens has the higher error, and the share of pairs predicted right.

    The probability that the first of two tokens has the higher error is the logistic function of the difference of
    their hardness, and the loss is its cross-entropy, the mean over pairs of unequal errors.

    Args:
        hardness: (B, M).
        errors: (B, M).
        counted: (B, M) bool; False for a token whose error is unknown.
        pairs: Other tokens of the clip with which each is compared; each two are compared equally often on average.
    """
    num_hidden = hardness.shape[1]
    shifts = 1 + torch.randperm(num_hidden - 1)[:pairs]  # (A,): a token is compared with those so many places on
    others = (torch.arange(num_hidden)[:, None] + shifts).remainder(num_hidden).to(hardness.device)  # (M, A)
    margin = (hardness[..., None] - hardness[:, others]) * (errors[..., None] - errors[:, others]).sign()
    unequal = (errors[..., None] != errors[:, others]) & counted[..., None] & counted[:, others]  # (B, M, A)
    number = unequal.sum().clamp(min=1)
    return (F.softplus(-margin) * unequal).sum() / number, ((margin > 0) & unequal).sum() / number


class LossPredictor(ErrorTrained):
    """Trains a predictor of the tokens' errors by comparing them, and masks from random to hard, or to easy.

    Source: "Hard Patches Mining for Masked Image Modeling" (arXiv 2304.05919) and its extension to videos (arXiv
    2312.13714): the relative loss, and masks of which a share that grows from 0 to one half hides the tokens of the
    highest predicted errors. Departures: the predictor is apart from the MAE, sees all tokens' embeddings also while it
    learns, and its loss does not reach the MAE; masks are made by the predictor as it is, not by a moving average; each
    token is compared with some others, drawn for each update, instead of all, whose number grows with M squared; and
    `show` may be turned round.

    Args:
        env: A `TokenSelectionVecEnv`.
        args: See `ErrorTrained`.
        config: The settings; the published ones if left out.
        kwargs: See `ErrorTrained`.
    """

    def __init__(
        self, env: TokenSelectionVecEnv, *args: Any, config: LossPredictorConfig | None = None, **kwargs: Any
    ) -> None:
        self.config = config or LossPredictorConfig()
        super().__init__(LossPredictorPolicy, env, *args, config=self.config, **kwargs)

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Set the share of the masks, and collect a rollout as the other agents do."""
        assert isinstance(self.policy, LossPredictorPolicy)
        progress, config = self.num_timesteps / self._total_timesteps, self.config
        self.policy.share.fill_(config.start + progress * (config.end - config.start))
        return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)

    def loss(self, batch: MaskBatch, output: PolicyOutput) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the pairwise loss over the hidden tokens that the MAE predicted, and the numbers to log.

        Args:
            batch: B masks; advantages (B, M) are the errors.
            output: The policy's `score` of the batch's observations under the current weights.
        """
        assert isinstance(self.policy, LossPredictorPolicy)
        hardness, actions = hardness_of(output), batch.actions.long()
        by_mask = hardness.repeat_interleave(len(actions) // len(hardness), 0)  # (B, L)
        hidden = hidden_by(actions, hardness.shape[1])  # (B, M)
        compared = by_mask.gather(1, hidden), batch.advantages, batch.predicted
        loss, accuracy = pairwise_loss(*compared, self.config.pairs)
        return loss, {"pair_accuracy": accuracy, "mined_share": self.policy.share}


@with_settings(LossPredictorConfig)
def build_loss_predictor(
    env: TokenSelectionVecEnv, config: PretrainConfig, settings: LossPredictorConfig
) -> LossPredictor:
    """Make Hard Patches Mining, whose predictor has the learning rate of the MAE at every step, as published."""
    return LossPredictor(
        env,
        mae_rate(env, config),
        config=settings,
        policy_kwargs={"precision": config.precision, "sampler": config.sampler},
        masks_per_clip=env.vector_env.config.masks_per_clip,
        seed=config.seed,
        device=env.vector_env.device,
    )
