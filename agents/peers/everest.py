"""EVEREST's masks (Hwang et al. 2024): tokens whose embedding differs from that of the tubelet before."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.peers.fixed import FixedMasks, FixedPolicy, fixed_masks
from tats_gym.agents.requirements import with_settings
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals
from tats_gym.train.precision import autocast

ROUNDING = 1e-5
"""Distances of embeddings that rounding alone makes; tokens that differ by less than this are ordered at random."""


@dataclass(frozen=True, kw_only=True)
class EverestConfig:
    """The tokens that may be shown."""

    pool: float = 0.3
    """Share of the tokens, those that change most, from which the K visible ones are drawn; at least K of them. 0.3 as
    published; 0 shows the K that change most."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_intervals(self, pool="[0, 1]")


def embedding_change(embedded: Tensor, num_tubelets: int) -> Tensor:
    """Return each token's L2 distance (B, L) from the token at its place a tubelet earlier, of embeddings (B, L, D).

    The first tubelet is compared with the second, so both have the same values.
    """
    distances = embedded.unflatten(1, (num_tubelets, -1)).diff(dim=1).norm(dim=-1)  # (B, t - 1, h * w)
    return torch.cat((distances[:, :1], distances), dim=1).flatten(1)


class EverestPolicy(FixedPolicy):
    """Shows K random tokens of those whose embedding changes most from one tubelet to the next.

    `motion` compares pixels, and shows the K that change most; here the MAE's embedding as it is now is compared,
    without positions, and the visible tokens are drawn.

    Source: "EVEREST: Efficient Masked Video Autoencoder by Removing Redundant Spatiotemporal Tokens" (arXiv
    2211.10636), its token selection. Departures: the MAE predicts all hidden tokens, where there only the rest of
    those that change most are predicted; frames are not selected.

    Args:
        config: The tokens that may be shown.
        args: See `FixedPolicy`.
        kwargs: See `FixedPolicy`.

    Raises:
        ValueError: If a clip is one tubelet long.
    """

    embed: Callable[[Tensor], Tensor] | None = None
    """Maps clips (B, C, T, H, W) to the MAE's embeddings (B, L, D) without positions; set by the builder. A plain
    function, so that a copy of the policy does not copy the MAE."""

    def __init__(self, *args: Any, config: EverestConfig | None = None, **kwargs: Any) -> None:
        self.config = config or EverestConfig()
        super().__init__(*args, **kwargs)
        if self.grid_shape[0] < 2:
            raise ValueError("EVEREST's masks compare tubelets and need at least two of them; choose a longer clip")

    def ids_keep(self, clips: Tensor, num_visible: int) -> Tensor:
        """Draw visible tokens (B, K) of clips (B, C, T, H, W) in uint8, on their device.

        Raises:
            ValueError: If `embed` is not set.
        """
        if self.embed is None:
            raise ValueError("EVEREST's masks need an MAE: build the agent with find_agent('everest')")
        change = embedding_change(self.embed(clips), self.grid_shape[0])
        noise = torch.rand(2, *change.shape).to(change.device)
        pool_size = max(num_visible, int(self.config.pool * self.num_tokens + 1e-6))
        pool = (change + ROUNDING * noise[0]).topk(pool_size, dim=1)
        drawn = noise[1].gather(1, pool.indices).topk(num_visible, dim=1)
        return pool.indices.gather(1, drawn.indices)


@with_settings(EverestConfig)
def build_everest(env: TokenSelectionVecEnv, config: PretrainConfig, settings: EverestConfig) -> FixedMasks:
    """Make EVEREST's masks, by the embedding of the environment's MAE."""

    def embed(clips: Tensor) -> Tensor:
        mae = env.vector_env.mae
        with autocast("fp32", env.vector_env.device):  # in bf16, rounding would pass for change
            # The embedding of a black clip holds the positions and biases that all clips share.
            return mae.embed(clips) - mae.embed(torch.zeros_like(clips[:1]))

    agent = fixed_masks(EverestPolicy, env, config, settings)
    assert isinstance(agent.policy, EverestPolicy)
    agent.policy.embed = embed
    return agent
