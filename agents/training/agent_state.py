"""The state of an SB3 algorithm as tensors and plain values, which load without running code."""

from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import recursive_getattr

from tats_gym.agents.stock.replay import ClipReplayBuffer


def agent_state(agent: BaseAlgorithm) -> dict[str, Any]:
    """Return networks, optimisers, counters, and the replay buffer if it is a `ClipReplayBuffer`."""
    replay = _replay(agent)
    return {
        "step": agent.num_timesteps,
        "agent": agent.get_parameters(),
        "agent_variables": {name: recursive_getattr(agent, name).detach() for name in _variables(agent)},
        "agent_updates": getattr(agent, "_n_updates", 0),
        "replay": None if replay is None else replay.state_dict(),
    }


def restore_agent(agent: BaseAlgorithm, state: dict[str, Any]) -> None:
    """Load a state that `agent_state` returned.

    Raises:
        KeyError: If it is of another algorithm.
        RuntimeError: If its networks have other sizes.
        ValueError: If its optimisers have other parameter groups.
    """
    agent.set_parameters(state["agent"], device=agent.device)
    for name in _variables(agent):
        recursive_getattr(agent, name).data.copy_(state["agent_variables"][name])
    replay = _replay(agent)
    if replay is not None:
        replay.load_state_dict(state["replay"])
    agent.num_timesteps = agent._episode_num = state["step"]
    agent._n_updates = state["agent_updates"]


def _replay(agent: BaseAlgorithm) -> ClipReplayBuffer | None:
    buffer = getattr(agent, "replay_buffer", None)
    return buffer if isinstance(buffer, ClipReplayBuffer) else None


def _variables(agent: BaseAlgorithm) -> list[str]:
    """Return the names of tensors that SB3 saves apart from modules, such as SAC's entropy coefficient."""
    return agent._get_torch_save_params()[1]
