"""Masks in proportion to the tokens' expected errors, which a few forwards of the MAE estimate for each clip."""

from collections.abc import Callable

import torch
from torch import Tensor

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.peers.fixed import FixedMasks, FixedPolicy, fixed_masks
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.masks import uniform_ids, weighted_ids
from tats_gym.model.errors import errors_under, expected_errors
from tats_gym.train.precision import autocast


class ExpectedErrorPolicy(FixedPolicy):
    """Draws tokens in proportion to e + mean(e), e a token's error when it is hidden, under the MAE as it is now.

    The mean keeps easy tokens from being left out. `hand_masks` measures these masks on a fixed MAE.
    """

    forwards = 4  # a token is hidden by none of four masks with probability (K / L) ** 4
    errors: Callable[[Tensor, Tensor], Tensor] | None = None
    """Maps clips (B, C, T, H, W) and visible tokens (S, B, K) to each token's mean error (B, L); set by the builder. A
    plain function, so that a copy of the policy does not copy the MAE."""

    def ids_keep(self, clips: Tensor, num_visible: int) -> Tensor:
        """Draw visible tokens (B, K) of clips (B, C, T, H, W) in uint8, on their device.

        Raises:
            ValueError: If `errors` is not set.
        """
        if self.errors is None:
            raise ValueError("masks by expected errors need an MAE: build the agent with find_agent('expected_error')")
        masks = [uniform_ids(self.grid_shape, num_visible, len(clips)) for _ in range(self.forwards)]
        expected = expected_errors(self.errors(clips, torch.stack(masks).to(clips.device)))
        return weighted_ids(expected + expected.mean(1, keepdim=True), num_visible)


def build_expected_error(env: TokenSelectionVecEnv, config: PretrainConfig) -> FixedMasks:
    """Make masks by the tokens' expected errors under the environment's MAE."""

    def errors(clips: Tensor, ids_keep: Tensor) -> Tensor:
        with torch.no_grad(), autocast(config.precision, env.vector_env.device):
            return errors_under(env.vector_env.mae, clips, ids_keep)[1]

    agent = fixed_masks(ExpectedErrorPolicy, env, config)
    assert isinstance(agent.policy, ExpectedErrorPolicy)
    agent.policy.errors = errors
    return agent
