"""Any policy's masks of clips, and the probabilities behind them where it has some."""

import torch
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from tats_gym.agents.fixed import FixedPolicy
from tats_gym.agents.subset_policy import SubsetPolicy
from tats_gym.model.videomae import MaskedAutoencoder
from tats_gym.train.precision import to_float32


def choose(policy: BasePolicy, tokens: Tensor, clips: Tensor, num_visible: int) -> Tensor:
    """Let any SB3 policy choose K tokens (B, K): the ids that it answers, or the K highest of its scores.

    Args:
        policy: Ours, or any whose `_predict` takes tokens and answers ids (B, K) or scores (B, L).
        tokens: Observations (B, L, D).
        clips: The same clips' pixels (B, C, T, H, W) in uint8, for policies that look at these.
        num_visible: K.
    """
    with torch.no_grad():
        if isinstance(policy, FixedPolicy):
            return policy.masks(clips)
        actions = policy._predict(tokens, deterministic=False)
    if actions.shape[1] == tokens.shape[1]:
        return actions.topk(num_visible, dim=1).indices
    return actions


def look(policy: BasePolicy, mae: MaskedAutoencoder, clips: Tensor, num_visible: int) -> tuple[Tensor, Tensor | None]:
    """Show clips (B, C, T, H, W) in uint8 to a policy through an MAE.

    Returns:
        Token ids (B, K); and the probability (B, L) of each token at the first draw, of policies that have them.
    """
    tokens = to_float32(mae.embed(clips))
    chosen = choose(policy, tokens, clips, num_visible)
    if not isinstance(policy, SubsetPolicy):
        return chosen, None
    with torch.no_grad():
        return chosen, policy.get_distribution(tokens).distribution.token_log_prob.exp()
