"""Who chooses the tokens. An agent is an SB3 algorithm; this is the table of how each is built.

A third party adds one by an entry point of the group "tats_gym.agents", or names it as `module:function`. The function
takes the environment and the settings of the run, and returns the algorithm:

    def build(env: TokenSelectionVecEnv, config: PretrainConfig) -> BaseAlgorithm
"""

import importlib
from collections.abc import Callable
from importlib.metadata import entry_points

from stable_baselines3.common.base_class import BaseAlgorithm

from agents.config import PretrainConfig
from agents.policy import SamplerConfig, TatsPolicy
from agents.tats import TATS
from envs.sb3 import TokenSelectionVecEnv
from tats_gym.hints import check_choice

Builder = Callable[[TokenSelectionVecEnv, PretrainConfig], BaseAlgorithm]

AGENTS = {
    "tats": "agents.builders:build_tats",
    "ppo": "agents.builders:build_ppo",
    "random": "agents.builders:build_random",
    "constant": "agents.builders:build_constant",
}
ENTRY_POINTS = "tats_gym.agents"

__all__ = ["AGENTS", "TATS", "PretrainConfig", "SamplerConfig", "TatsPolicy", "find_agent"]


def find_agent(name: str) -> Builder:
    """Return what builds the agent of this name: built in, from an entry point, or `module:function`.

    Raises:
        ValueError: If there is none, with the nearest name.
    """
    table = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)} | AGENTS
    if ":" not in name:
        check_choice("--agent", name, tuple(table))
    module_name, _, attribute = table.get(name, name).partition(":")
    try:
        builder: Builder = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as err:
        raise ValueError(f"--agent {name}: there is no {attribute!r} to import from {module_name!r}: {err}") from err
    return builder
