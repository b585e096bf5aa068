"""The TATS sampler as an SB3 policy: an actor and a value network over patch tokens."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from tats_gym.agents.plackett_luce import PlackettLuce
from tats_gym.agents.subset_policy import PolicyOutput, SubsetPolicy
from tats_gym.agents.trajectory_attention import TrajectoryBlock
from tats_gym.envs.spaces import TokenBox
from tats_gym.model.pos_embed import LEARNED_STD, LearnedPosEmbed
from tats_gym.model.videomae import initialise
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals
from tats_gym.tokens import GridShape
from tats_gym.train.precision import autocast, to_float32

Critic = Literal["separate", "pooled", "shared", "none"]


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """The sampler's architecture: the attention is the paper's, the rest of the block our reading."""

    width: int | None = None
    """Width of actor and value network; None for the tokens' width, otherwise a linear layer maps the tokens to it."""
    depth: int = 1
    """Trajectory-attention blocks."""
    head_dim: int = 64
    """Width of one attention head; must divide the width. A sampler that is narrower has one head."""
    mlp_ratio: float = 0.0
    """Width of an MLP after each attention, in widths; 0 for none."""
    pos_embed: Literal["tokens", "learned"] = "tokens"
    """Position embeddings. tokens: those already in the tokens, weak beside their content. learned: a norm, then
    learned ones."""
    pos_embed_std: float = LEARNED_STD
    """Standard deviation of learned position embeddings at the start, where the content of a token has 1: the smaller,
    the more the scores depend on content."""
    differences: bool = False
    """Let the sampler see beside each token its difference from the same place in the frames before and after."""
    critic: Critic = "pooled"
    """Value network. pooled: a separate trunk with one query for each frame, the mean of its tokens. separate: a
    separate trunk with a query for each token. shared: the actor's trunk. none: values are zero."""
    temperature: float = 1.0
    """Divides the logits; 1 in Table 1."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_intervals(self, depth="[1, inf)", head_dim="[1, inf)", width="[1, inf)", mlp_ratio="[0, inf)")
        check_intervals(self, pos_embed_std="(0, inf)", temperature="(0, inf)")


class NormAndPosEmbed(nn.Module):
    """Normalises tokens to unit variance and adds learned position embeddings.

    In clips where a place looks the same at all times, a good mask spreads over places, which only positions tell
    apart.
    """

    def __init__(self, grid_shape: GridShape, width: int, std: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.positions = LearnedPosEmbed(grid_shape, width, std=std)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, L, width) to (B, L, width)."""
        placed: Tensor = self.norm(tokens) + self.positions()
        return placed


class WithDifferences(nn.Module):
    """Appends to each token its differences from the same place in the frames before and after, zero at the ends."""

    def __init__(self, num_frames: int) -> None:
        super().__init__()
        self.num_frames = num_frames

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, L, D) to (B, L, 3 * D)."""
        frames = tokens.unflatten(1, (self.num_frames, -1))  # (B, t, h * w, D)
        steps = frames.diff(dim=1)  # (B, t - 1, h * w, D)
        none = torch.zeros_like(frames[:, :1])
        return torch.cat((frames, torch.cat((none, steps), 1), torch.cat((-steps, none), 1)), -1).flatten(1, 2)


class Trunk(nn.Module):
    """Maps tokens to tokens: optional differences, a linear layer, position embeddings, attention and a norm.

    With `pool`, the last block returns one token for each frame.
    """

    def __init__(self, config: SamplerConfig, embed_dim: int, grid_shape: GridShape, *, pool: bool = False) -> None:
        super().__init__()
        width = config.width or embed_dim
        head_dim = min(config.head_dim, width)
        if width % head_dim:
            raise ValueError(f"head_dim must divide the sampler's width, got {head_dim} and {width}")
        self.differ = WithDifferences(grid_shape[0]) if config.differences else nn.Identity()
        input_width = 3 * embed_dim if config.differences else embed_dim
        self.resize = nn.Identity() if width == input_width else nn.Linear(input_width, width)
        learned = config.pos_embed == "learned"
        self.place = NormAndPosEmbed(grid_shape, width, config.pos_embed_std) if learned else nn.Identity()
        self.blocks = nn.Sequential(
            *(
                TrajectoryBlock(
                    width,
                    width // head_dim,
                    grid_shape[0],
                    config.mlp_ratio,
                    pool=pool and block == config.depth,
                )
                for block in range(1, config.depth + 1)
            )
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, L, D) to (B, L, width), or with `pool` to (B, t, width)."""
        normed: Tensor = self.norm(self.blocks(self.place(self.resize(self.differ(tokens)))))
        return normed


class TatsPolicy(SubsetPolicy):
    """Actor and value network of trajectory attention.

    An untrained policy draws uniformly: the last layer of the actor starts at zero.

    Args:
        sampler: The architecture.
        args: See `SubsetPolicy`.
        kwargs: See `SubsetPolicy`.
    """

    scores_alike_in_training = True

    def __init__(self, *args: Any, sampler: SamplerConfig | None = None, **kwargs: Any) -> None:
        self.sampler = sampler or SamplerConfig()
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        assert isinstance(self.observation_space, TokenBox)
        embed_dim, grid_shape = self.observation_space.shape[-1], self.observation_space.grid_shape
        width, critic = self.sampler.width or embed_dim, self.sampler.critic
        if self.value_per_token and critic == "pooled":
            raise ValueError(
                "credit 'marginal' needs a value for each token: critic must be 'separate', 'shared' or 'none', "
                "got 'pooled', which returns one number a clip (--sampler.critic shared)"
            )
        self.actor = Trunk(self.sampler, embed_dim, grid_shape)
        self.actor_head = nn.Linear(width, 1)
        own_trunk = critic in ("separate", "pooled")
        self.critic = Trunk(self.sampler, embed_dim, grid_shape, pool=critic == "pooled") if own_trunk else None
        self.critic_head = None if critic == "none" else nn.Linear(width, 1)
        self.estimates_value = critic != "none"
        self.apply(initialise)
        for head in (self.actor_head, self.critic_head):
            if head is not None:
                nn.init.zeros_(head.weight)
        self.make_optimizer(lr_schedule)

    def score(self, tokens: Tensor) -> PolicyOutput:
        """Return the distribution over masks for tokens (B, L, D), and the values, in one forward pass.

        Values are (B, 1), or (B, L) with credit "marginal"; zero without a value network.
        """
        with autocast(self.precision, self.device):
            features = self.actor(tokens)  # (B, L, width)
            logits = self.actor_head(features).squeeze(-1)  # (B, L)
            values = features.new_zeros(len(tokens), tokens.shape[1] if self.value_per_token else 1)
            if self.critic_head is not None:
                value_features = features if self.critic is None else self.critic(tokens)
                if self.value_per_token:
                    values = self.critic_head(value_features).squeeze(-1)  # (B, L)
                else:
                    values = self.critic_head(value_features.mean(1))  # (B, 1)
        return PlackettLuce(to_float32(logits) / self.sampler.temperature, self.num_visible), to_float32(values)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {"sampler": self.sampler}
