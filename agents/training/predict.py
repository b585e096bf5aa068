"""Predicts masks of clips with any policy, and the tokens' probabilities with a `SubsetPolicy`."""

import torch
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from tats_gym.agents.peers.fixed import FixedPolicy
from tats_gym.agents.subset_policy import SubsetPolicy
from tats_gym.model.protocol import MaskedModel
from tats_gym.train.precision import to_float32


def choose(policy: BasePolicy, tokens: Tensor, clips: Tensor, num_visible: int) -> Tensor:
    """Return the K tokens (B, K) that an SB3 policy chooses: the ids that it predicts, or its K highest scores.

    Args:
        policy: Ours, or any whose `_predict` maps tokens to ids (B, K) or to scores (B, L).
        tokens: Observations (B, L, D).
        clips: The same clips' pixels (B, C, T, H, W) in uint8, for `FixedPolicy`.
        num_visible: K.
    """
    with torch.no_grad():
        if isinstance(policy, FixedPolicy):
            return policy.ids_keep(clips, num_visible)
        actions = policy._predict(tokens, deterministic=False)
    if actions.shape[1] == tokens.shape[1]:
        return actions.topk(num_visible, dim=1).indices
    return actions[:, :num_visible]


def predict_masks(
    policy: BasePolicy, mae: MaskedModel, clips: Tensor, num_visible: int
) -> tuple[Tensor, Tensor | None]:
    """Embed clips (B, C, T, H, W) in uint8 with an MAE, and let a policy mask them.

    Returns:
        Visible ids (B, K); and the probability (B, L) of each token at the first draw, None without a distribution.
    """
    tokens = to_float32(mae.embed(clips))
    ids_keep = choose(policy, tokens, clips, num_visible)
    if not isinstance(policy, SubsetPolicy):
        return ids_keep, None
    with torch.no_grad():
        return ids_keep, policy.get_distribution(tokens).distribution.token_log_prob.exp()
