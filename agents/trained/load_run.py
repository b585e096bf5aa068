"""Loads trained agents with their MAEs from runs, to mask clips without the training data."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from tats_gym.agents import find_agent
from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.requirements import resolve_settings
from tats_gym.agents.training.learning import updates
from tats_gym.agents.training.predict import predict_masks
from tats_gym.agents.training.run_parts import check_target, load_own_mae
from tats_gym.clips import ClipConfig
from tats_gym.encoders.mae import MAESource, build_mae
from tats_gym.encoders.weight_files import read_torch
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.envs.settings import EnvConfig
from tats_gym.envs.token_selection import TokenSelectionVectorEnv
from tats_gym.figures.masks import ClipMasks
from tats_gym.model.protocol import MaskedModel, as_module, device_of, own_model
from tats_gym.runs.checkpoint import CheckpointError
from tats_gym.runs.kinds import PRETRAINING, check_kind
from tats_gym.targets.table import build_target
from tats_gym.train.precision import AUTO, autocast


@dataclass(frozen=True)
class SavedRun:
    """A run's checkpoint, read but not built into networks."""

    path: Path
    """Folder or checkpoint that was read."""
    config: PretrainConfig
    """The run's settings."""
    state: dict[str, Any]
    """Content of the checkpoint."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a run's folder, or one of its checkpoints.

        Raises:
            CheckpointError: If there is no checkpoint, or it is damaged.
        """
        check_kind(path, PRETRAINING)
        state = read_torch(path)
        if "mae" not in state or "agent" not in state:
            raise CheckpointError(f"{path} is no run: only a run holds an agent")
        return cls(path, PretrainConfig.from_dict(state["config"]), state)

    def agent(self, clips: ClipConfig, *, num_visible: int | None = None, device: str = AUTO) -> "TrainedAgent":
        """Build agent and MAE as they were saved.

        Args:
            clips: Any available clips: an agent is built for an environment, and that needs some.
            num_visible: K; the run's if None.
            device: Device of agent and MAE.

        Raises:
            CheckpointError: If the saved weights do not fit the agent that has this name now.
            ValueError: If the agent cannot show K tokens.
        """
        build_agent = find_agent(self.config.agent)
        config = resolve_settings(replace(self.config, device=device), build_agent)
        if num_visible is not None:
            config = replace(config, grid=replace(config.grid, visible=num_visible))
        vector_env = _environment(config, clips)
        mae = self._mae(config)
        vector_env.attach(mae)
        agent = build_agent(TokenSelectionVecEnv(vector_env), config)
        try:
            agent.set_parameters(self.state["agent"], device=vector_env.device)
        except (KeyError, RuntimeError, ValueError) as err:
            raise CheckpointError(
                f"{self.path} holds weights that do not fit {config.agent} with K = {config.grid.num_visible}: {err}"
            ) from err
        finally:
            vector_env.close()
        untrained = updates(agent) is not None and self.state.get("agent_updates") == 0
        name = f"untrained {config.agent}" if untrained else config.agent
        return TrainedAgent(config, agent.policy, mae, name=name)

    def _mae(self, config: PretrainConfig) -> MaskedModel:
        if config.own_mae is None:
            source = MAESource.of_checkpoint(self.state, str(self.path))
            target = build_target(config.target, config.grid, source.config)
            check_target(target, self.state, str(self.path))
            return build_mae(source, config.grid, seed=0, target=target)
        mae = own_model(config.own_mae, config.grid, seed=0, option="--own-mae")
        load_own_mae(mae, self.state, str(self.path))
        return mae


def _environment(config: PretrainConfig, clips: ClipConfig) -> TokenSelectionVectorEnv:
    """Build an environment of a run's tokens and actions on other clips, without its reward, which may be imported."""
    return TokenSelectionVectorEnv(
        config.num_envs, **config.env_settings | asdict(clips) | {"reward": EnvConfig.reward}
    )


class TrainedAgent:
    """A trained agent with the MAE that embeds clips for it.

    Args:
        config: The run's settings, with the K that the agent shows.
        policy: The agent's.
        mae: The MAE of the run, on the same device.
        name: The agent's, for pictures.
    """

    def __init__(self, config: PretrainConfig, policy: BasePolicy, mae: MaskedModel, *, name: str) -> None:
        self.config, self.policy, self.mae, self.name = config, policy, mae, name
        as_module(mae).eval()
        policy.set_training_mode(False)

    def mask(self, clips: Tensor, *, seed: int = 0) -> tuple[Tensor, Tensor | None]:
        """Mask clips (B, C, T, H, W) in uint8 one by one, so that a clip's mask does not depend on the others.

        Returns:
            Visible ids (B, K) and, for agents with a distribution, the probability (B, L) of each token at the first
            draw; on the host.
        """
        device = device_of(self.mae)
        gpus = [device] if device.type == "cuda" else []
        masks, probabilities = [], []
        with torch.no_grad(), torch.random.fork_rng(devices=gpus), autocast(self.config.precision, device):
            for clip in clips.split(1):
                torch.manual_seed(seed)
                ids_keep, likely = predict_masks(self.policy, self.mae, clip.to(device), self.config.grid.num_visible)
                masks.append(ids_keep.cpu())
                if likely is not None:
                    probabilities.append(likely.float().cpu())
        return torch.cat(masks), torch.cat(probabilities) if probabilities else None

    def reconstruct(self, clips: Tensor, ids_keep: Tensor, name: str, probabilities: Tensor | None = None) -> ClipMasks:
        """Reconstruct clips (B, C, T, H, W) in uint8 from the tokens (B, K) that an agent of this name chose.

        Args:
            clips: The clips.
            ids_keep: The visible tokens.
            name: Name of the agent.
            probabilities: (B, L), passed on to the result.
        """
        device = device_of(self.mae)
        with torch.no_grad(), autocast(self.config.precision, device):
            reconstruction = self.mae(clips.to(device), ids_keep.to(device))
        return ClipMasks(name, reconstruction, probabilities)
