"""Stable-Baselines3's VecEnv around the vector environment."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

from tats_gym.envs.checks import check_seed
from tats_gym.envs.token_selection import TokenSelectionVectorEnv
from tats_gym.messages import brief


class TokenSelectionVecEnv(VecEnv):
    """Presents the masking environment to any SB3 algorithm as its `env`.

    Stock algorithms exchange NumPy arrays with it. Ours set `as_tensors` and use the tensors of `vector_env`.

    Args:
        vector_env: A `TokenSelectionVectorEnv`, or the result of `gymnasium.make_vec` for its id; under SAME_STEP.

    Raises:
        TypeError: If it is another environment.
        ValueError: If it does not reset under SAME_STEP.
    """

    def __init__(self, vector_env: Any) -> None:
        env = vector_env.unwrapped
        if not isinstance(env, TokenSelectionVectorEnv):
            raise TypeError(f"expected a TokenSelectionVectorEnv, got {type(env).__name__}; make it with make_vec")
        if env.metadata["autoreset_mode"] is not AutoresetMode.SAME_STEP:
            raise ValueError(
                f"SB3 resets by itself: autoreset_mode must be 'same_step', got {env.config.autoreset_mode!r}; "
                "make the environment with autoreset_mode='same_step'"
            )
        self.vector_env = env
        self.render_mode = env.render_mode
        self.as_tensors = False
        self._actions: Any = None
        self._observations: NDArray[np.float32] | None = None
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> Any:
        """Reset with the seed and options set before; returns observations (B, L, D)."""
        seed, options = self._seeds[0], self._options[0] or None
        self._reset_seeds()  # first: a rejected seed would otherwise be rejected at every later reset
        self._reset_options()
        self.vector_env.restart(seed=seed, options=options)
        return self._first_observations()

    def resume(self, position: int, seed: int) -> Any:
        """Load the clips at a position of a seed's stream; returns observations (B, L, D)."""
        self.vector_env.resume(position, seed)
        self._reset_seeds()
        return self._first_observations()

    def _first_observations(self) -> Any:
        clips, positions = self.vector_env.clip_buffer.clips.tolist(), self.vector_env.clip_buffer.positions.tolist()
        self.reset_infos = [{"clip": clips[b], "position": positions[b]} for b in range(self.num_envs)]
        if self.as_tensors:
            return self.vector_env.observe()
        self._observations = self.vector_env.observation()
        return self._observations

    def step_async(self, actions: NDArray[Any]) -> None:
        """Store the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Apply the actions; returns observations of the next clips, rewards, dones and infos."""
        observations, rewards, dones, _, infos = self.vector_env.step(self._actions)
        errors, clips, positions = (infos["final_info"][name] for name in ("errors", "clips", "positions"))
        details = [
            {
                "episode": {"r": float(rewards[b]), "l": 1, "t": 0.0},
                "TimeLimit.truncated": False,
                "clip": int(clips[b]),
                "position": int(positions[b]),
                "errors": errors[b],
            }
            for b in range(self.num_envs)
        ]
        self._observations = observations
        return observations, rewards, dones, details

    def refresh(self) -> NDArray[np.float32]:
        """Embed the current clips again, in place in the array that the last step returned, and return it.

        A trainer calls this after it has changed the MAE: the algorithm's next observation was made with the old
        weights.
        """
        assert self._observations is not None
        self._observations[:] = self.vector_env.observation()
        return self._observations

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seed the next reset; SB3 makes one seed for each environment, and the first is used."""
        return super().seed(None if seed is None else check_seed(seed))

    def set_options(self, options: list[dict[str, Any]] | dict[str, Any] | None = None) -> None:
        """Set options for the next reset; of a list with one dict for each environment, the first is used.

        Raises:
            TypeError: If they are neither a dict nor a list of B dicts.
        """
        each = options if isinstance(options, list) else [{} if options is None else options] * self.num_envs
        if len(each) != self.num_envs or not all(isinstance(one, dict) for one in each):
            raise TypeError(f"options must be a dict, or {self.num_envs} in a list, got {brief(options)}")
        super().set_options(options)

    def close(self) -> None:
        """Close the environment."""
        self.vector_env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of the environment, once for each index."""
        return [getattr(self.vector_env, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the environment, one object for all clips."""
        setattr(self.vector_env, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method of the environment once, and return its result for each index."""
        result = getattr(self.vector_env, method_name)(*args, **kwargs)
        return [result] * len(list(self._get_indices(indices)))

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """Return True for `Monitor`, since infos hold "episode"; there is no other wrapper."""
        return [wrapper_class is Monitor] * len(list(self._get_indices(indices)))

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Draw every clip of the last step."""
        return self.vector_env.render() or [None] * self.num_envs
