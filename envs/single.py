"""The environment for one clip: B = 1, for `gymnasium.make` and the environment checkers."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from tats_gym.envs.checks import as_array, check_seed
from tats_gym.envs.token_selection import TokenSelectionVectorEnv
from tats_gym.model.protocol import MaskedModel


class TokenSelectionEnv(gymnasium.Env[NDArray[np.float32], NDArray[Any]]):
    """`TokenSelectionVectorEnv` for a single clip, with the same spaces, rewards and arguments.

    `info` holds the clip's id, its position in the stream and, after a step, the `errors` (L,) of hidden tokens.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 1}  # noqa: RUF012 (Gymnasium's own form)

    vector_kind = TokenSelectionVectorEnv
    """The environment of batches that steps the clip."""

    def __init__(self, render_mode: str | None = None, **settings: Any) -> None:
        settings["autoreset_mode"] = "disabled"
        self.vector_env = self.vector_kind(num_envs=1, render_mode=render_mode, **settings)
        self.render_mode = render_mode
        self.observation_space = self.vector_env.single_observation_space
        self.action_space = self.vector_env.single_action_space

    def attach(self, mae: MaskedModel) -> None:
        """Use this MAE from now on."""
        self.vector_env.attach(mae)
        self.observation_space = self.vector_env.single_observation_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Load the stream's next clip, or the one that `options={"clips": [id]}` names."""
        seed = None if seed is None else check_seed(seed)
        observations, infos = self.vector_env.reset(seed=seed, options=options)
        super().reset(seed=seed)
        return observations[0], _of_one(infos)

    def step(self, action: NDArray[Any]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Apply one action, K token indices or L scores. The episode ends; the observation is of the same clip."""
        observations, rewards, _, _, infos = self.vector_env.step(as_array(action, "an action")[None])
        return observations[0], float(rewards[0]), True, False, _of_one(infos) | {"errors": infos["errors"][0]}

    def render(self) -> NDArray[np.uint8] | None:
        """Draw the clip of the last step, its reconstruction, error and mask; after a reset, without a mask."""
        frames = self.vector_env.render()
        return None if frames is None else frames[0]

    def close(self) -> None:
        """Stop the stream's workers."""
        self.vector_env.close()


def _of_one(infos: dict[str, Any]) -> dict[str, Any]:
    return {"clip": int(infos["clips"][0]), "position": int(infos["positions"][0])}
