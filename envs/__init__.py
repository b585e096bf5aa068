"""The masking problem as Gymnasium environments, and the way into Stable-Baselines3."""

from envs.rewards import REWARDS
from envs.sb3 import TokenSelectionVecEnv
from envs.settings import EnvConfig
from envs.single import TokenSelectionEnv
from envs.spaces import ScoreBox, Subset, TokenBox
from envs.token_selection import Outcome, TokenSelectionVectorEnv

__all__ = [
    "REWARDS",
    "EnvConfig",
    "Outcome",
    "ScoreBox",
    "Subset",
    "TokenBox",
    "TokenSelectionEnv",
    "TokenSelectionVecEnv",
    "TokenSelectionVectorEnv",
]
