"""The table of agents: the builder of each, and its facts. An agent's module is imported when the agent is named.

Another package adds an agent by an entry point of the group "tats_gym.agents", or the user names it as
`module:function`. The function takes the environment and the settings of the run, and returns the algorithm:

    def build(env: TokenSelectionVecEnv, config: PretrainConfig) -> BaseAlgorithm

`tats_gym.agents.needs` marks it with settings that the agent needs of its environment: `@needs(action="scores")`.
`tats_gym.agents.with_settings` gives it settings of its own.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from stable_baselines3.common.base_class import BaseAlgorithm

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.requirements import needs
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.plugs import find_plug, installed

Builder = Callable[[TokenSelectionVecEnv, PretrainConfig], BaseAlgorithm]

ENTRY_POINTS = "tats_gym.agents"


@dataclass(frozen=True, kw_only=True)
class Agent:
    """The builder of an agent, and the facts that others ask of it."""

    builder: str
    """`module:function`; see `Builder`."""
    needs: Mapping[str, Any] = field(default_factory=dict)
    """Settings of its environment, see `tats_gym.agents.needs`."""
    objective: Literal["tats", "adamae"] | None = None
    """The objective that trains its sampler; None for another's, and for masks that are not learned."""
    baseline: Literal["group", "dr_grpo", "grpo"] | None = None
    """The baseline that it always takes; None for the one in the settings."""
    uses_gain: bool = True
    """Whether the reward `gain` trains it differently from `neg_error`: False for masks that are not learned, credit by
    the errors of tokens, or a comparison of masks of the same clip."""
    extra: str | None = None
    """The extra of tats-gym that installs the further package it imports."""


AGENTS = {
    "tats": Agent(builder="tats_gym.agents.builders:build_tats", objective="tats"),
    "group": Agent(
        builder="tats_gym.agents.builders:build_group",
        needs={"masks_per_clip": 4},
        objective="tats",
        baseline="group",
        uses_gain=False,
    ),
    "grpo": Agent(
        builder="tats_gym.agents.builders:build_grpo",
        needs={"masks_per_clip": 4},
        objective="tats",
        baseline="grpo",
        uses_gain=False,
    ),
    "dr_grpo": Agent(
        builder="tats_gym.agents.builders:build_dr_grpo",
        needs={"masks_per_clip": 4},
        objective="tats",
        baseline="dr_grpo",
        uses_gain=False,
    ),
    "gumbel": Agent(builder="tats_gym.agents.peers.gumbel:build_gumbel", uses_gain=False),
    "adamae": Agent(builder="tats_gym.agents.peers.adamae:build_adamae", objective="adamae", uses_gain=False),
    "loss_predictor": Agent(builder="tats_gym.agents.peers.loss_predictor:build_loss_predictor", uses_gain=False),
    "ppo": Agent(builder="tats_gym.agents.stock.on_policy:build_ppo"),
    "a2c": Agent(builder="tats_gym.agents.stock.on_policy:build_a2c"),
    "trpo": Agent(builder="tats_gym.agents.stock.trpo:build_trpo", extra="contrib"),
    "random": Agent(builder="tats_gym.agents.builders:build_random", uses_gain=False),
    "random_ratio": Agent(
        builder="tats_gym.agents.builders:build_random_ratio", needs={"visible_spread": 0.5}, uses_gain=False
    ),
    "tube": Agent(builder="tats_gym.agents.builders:build_tube", uses_gain=False),
    "frame": Agent(builder="tats_gym.agents.builders:build_frame", uses_gain=False),
    "block": Agent(builder="tats_gym.agents.builders:build_block", uses_gain=False),
    "cell": Agent(builder="tats_gym.agents.peers.running_cells:build_cell", uses_gain=False),
    "jepa": Agent(builder="tats_gym.agents.peers.jepa:build_jepa", uses_gain=False),
    "green3d": Agent(builder="tats_gym.agents.peers.green_noise:build_green3d", uses_gain=False),
    "motion": Agent(builder="tats_gym.agents.builders:build_motion", uses_gain=False),
    "everest": Agent(builder="tats_gym.agents.peers.everest:build_everest", uses_gain=False),
    "expected_error": Agent(builder="tats_gym.agents.peers.expected_errors:build_expected_error", uses_gain=False),
    "constant": Agent(builder="tats_gym.agents.builders:build_constant", uses_gain=False),
    "sac": Agent(builder="tats_gym.agents.stock.off_policy:build_sac", needs={"action": "scores"}),
    "td3": Agent(builder="tats_gym.agents.stock.off_policy:build_td3", needs={"action": "scores"}),
    "tqc": Agent(builder="tats_gym.agents.stock.tqc:build_tqc", needs={"action": "scores"}, extra="contrib"),
}
"""Name of an agent to its record."""


def find_agent(name: str) -> Builder:
    """Return the builder of the agent of this name: built in, from an entry point, or `module:function`.

    Raises:
        ValueError: If there is none, with the nearest name.
    """
    known = installed(ENTRY_POINTS) | {key: agent.builder for key, agent in AGENTS.items()}
    path = known.get(name, name)
    agent = next((each for each in AGENTS.values() if each.builder == path), Agent(builder=path))
    try:
        builder: Builder = find_plug(name, known, "--agent")
    except ValueError as err:
        missing = err.__cause__
        if agent.extra and isinstance(missing, ModuleNotFoundError):
            raise ValueError(f"--agent {name} needs {missing.name}: pip install 'tats-gym[{agent.extra}]'") from missing
        raise
    return needs(**agent.needs)(builder) if agent.needs else builder


def check_asked_for(name: str, asked: Collection[str], kind: str = "agent") -> None:
    """Refuse a part that a run's file names as `module:object` unless the user did too: importing runs a module.

    Args:
        name: Name of the part.
        asked: Words of the user's command.
        kind: The setting.

    Raises:
        ValueError: If the user did not ask for it.
    """
    if ":" in name and name not in asked:
        raise ValueError(
            f"the run's {kind} {name!r} lies in a module, which would be run: give --{kind} {name} to allow it"
        )
