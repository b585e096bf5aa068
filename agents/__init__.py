"""Who chooses the tokens. An agent is an SB3 algorithm; this is the table of how each is built.

A third party adds one by an entry point of the group "tats_gym.agents", or names it as `module:function`. The function
takes the environment and the settings of the run, and returns the algorithm:

    def build(env: TokenSelectionVecEnv, config: PretrainConfig) -> BaseAlgorithm

It says with `tats_gym.agents.needs` what the agent needs of its environment: `@needs(action="scores")`, if not ids.
"""

import importlib
from collections.abc import Callable, Collection
from importlib.metadata import entry_points

from stable_baselines3.common.base_class import BaseAlgorithm

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.fixed import FixedMasks, FixedPolicy
from tats_gym.agents.plackett_luce import PlackettLuce
from tats_gym.agents.policy import SamplerConfig, TatsPolicy
from tats_gym.agents.requirements import needs
from tats_gym.agents.subset_policy import SubsetPolicy
from tats_gym.agents.tats import TATS
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.files.messages import check_choice

Builder = Callable[[TokenSelectionVecEnv, PretrainConfig], BaseAlgorithm]

AGENTS = {
    "tats": "tats_gym.agents.builders:build_tats",
    "group": "tats_gym.agents.builders:build_group",
    "adamae": "tats_gym.agents.builders:build_adamae",
    "ppo": "tats_gym.agents.stock.on_policy:build_ppo",
    "a2c": "tats_gym.agents.stock.on_policy:build_a2c",
    "trpo": "tats_gym.agents.stock.trpo:build_trpo",
    "random": "tats_gym.agents.builders:build_random",
    "tube": "tats_gym.agents.builders:build_tube",
    "frame": "tats_gym.agents.builders:build_frame",
    "block": "tats_gym.agents.builders:build_block",
    "motion": "tats_gym.agents.builders:build_motion",
    "constant": "tats_gym.agents.builders:build_constant",
    "sac": "tats_gym.agents.stock.off_policy:build_sac",
    "td3": "tats_gym.agents.stock.off_policy:build_td3",
    "tqc": "tats_gym.agents.stock.tqc:build_tqc",
}
EXTRAS = {"sb3_contrib": "contrib"}
"""What to install for a package that only some agents need."""
ENTRY_POINTS = "tats_gym.agents"

__all__ = [
    "AGENTS",
    "TATS",
    "FixedMasks",
    "FixedPolicy",
    "PlackettLuce",
    "PretrainConfig",
    "SamplerConfig",
    "SubsetPolicy",
    "TatsPolicy",
    "check_asked_for",
    "find_agent",
    "needs",
]


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
        if extra := EXTRAS.get(getattr(err, "name", None) or ""):
            raise ValueError(f"--agent {name} needs {err.name}: pip install 'tats-gym[{extra}]'") from err
        raise ValueError(f"--agent {name}: there is no {attribute!r} to import from {module_name!r}: {err}") from err
    return builder


def check_asked_for(name: str, asked: Collection[str]) -> None:
    """Refuse an agent that a run's file names as `module:function` unless the user did too: importing runs a module.

    Raises:
        ValueError: If nobody asked for it.
    """
    if ":" in name and name not in asked:
        raise ValueError(
            f"the run's agent {name!r} lies in a module, which would be run: give --agent {name} to allow it"
        )
