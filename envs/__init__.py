"""The masking problem as Gymnasium environments, and as a VecEnv for Stable-Baselines3."""

from tats_gym.envs.frozen import FrozenTokenSelectionEnv, FrozenTokenSelectionVectorEnv
from tats_gym.envs.outcome import Outcome
from tats_gym.envs.rewards import REWARDS
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.envs.settings import EnvConfig
from tats_gym.envs.single import TokenSelectionEnv
from tats_gym.envs.spaces import ScoreBox, Subset, TokenBox
from tats_gym.envs.token_selection import TokenSelectionVectorEnv

__all__ = [
    "REWARDS",
    "EnvConfig",
    "FrozenTokenSelectionEnv",
    "FrozenTokenSelectionVectorEnv",
    "Outcome",
    "ScoreBox",
    "Subset",
    "TokenBox",
    "TokenSelectionEnv",
    "TokenSelectionVecEnv",
    "TokenSelectionVectorEnv",
]
