"""The agents that choose tokens: SB3 algorithms, and the parts from which to make one of your own."""

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.peers.fixed import FixedMasks, FixedPolicy
from tats_gym.agents.plackett_luce import PlackettLuce
from tats_gym.agents.policy import SamplerConfig, TatsPolicy
from tats_gym.agents.registry import AGENTS, check_asked_for, find_agent
from tats_gym.agents.requirements import needs, with_settings
from tats_gym.agents.subset_policy import SubsetPolicy
from tats_gym.agents.tats import TATS, TatsConfig

__all__ = [
    "AGENTS",
    "TATS",
    "FixedMasks",
    "FixedPolicy",
    "PlackettLuce",
    "PretrainConfig",
    "SamplerConfig",
    "SubsetPolicy",
    "TatsConfig",
    "TatsPolicy",
    "check_asked_for",
    "find_agent",
    "needs",
    "with_settings",
]
