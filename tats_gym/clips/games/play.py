"""Seeded play in any Gymnasium environment: a frame of each step, and where a reset begins a new episode."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator
from numpy.typing import NDArray

from tats_gym.messages import brief, first_line
from tats_gym.plugs import import_own

Env = gymnasium.Env[Any, Any]
Policy = Callable[[Any], Any]
"""From an observation to an action."""


class Moment(NamedTuple):
    """The record of a step."""

    frame: NDArray[np.uint8]
    """RGB (H, W, C)."""
    ram: NDArray[np.uint8] | None
    """The console's memory (128,) when the frame was drawn, in Atari games alone."""
    begins: bool
    """Whether an episode begins here."""


def open_env(env_id: str, arguments: Mapping[str, Any]) -> Env:
    """Make an environment that draws its frames, if it can.

    Args:
        env_id: Id of the environment, `module:id` if a module has to be imported first.
        arguments: Arguments of `gymnasium.make`.

    Raises:
        ModuleNotFoundError: If it is an Atari game, and ale-py is not installed.
        ValueError: If there is no such environment, or it cannot be made; Gymnasium names the most similar one.
    """
    module, _, name = env_id.rpartition(":")
    if name.startswith("ALE/"):
        _load_atari()
    if module:
        import_own(module, f"--env {env_id}")
    try:
        entry = gymnasium.spec(name).entry_point
        creator = load_env_creator(entry) if isinstance(entry, str) else entry
        modes = getattr(creator, "metadata", {"render_modes": ["rgb_array"]}).get("render_modes", ())
        drawn = {"render_mode": "rgb_array"} if "rgb_array" in modes else {}
        return gymnasium.make(name, disable_env_checker=True, **(drawn | dict(arguments)))
    except Exception as err:  # each environment refuses an argument by an error of its own type
        unknown = isinstance(err, gymnasium.error.NameNotFound | gymnasium.error.NamespaceNotFound)
        hint = (
            "" if not unknown or "Did you mean" in str(err) else " The id of an Atari game is of the form ALE/Pong-v5."
        )
        raise ValueError(f"--env {env_id}: {first_line(err)}{hint}") from err


def _load_atari() -> None:
    """Register the Atari games with Gymnasium, and keep the emulator from printing its greeting."""
    try:
        import ale_py
    except ModuleNotFoundError as err:
        raise ModuleNotFoundError(
            "the Atari games need ale-py, whose package holds them: pip install 'tats-gym[atari]'"
        ) from err
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    gymnasium.register_envs(ale_py)


def random_policy(env: Env, seed: int) -> Policy:
    """Return a policy of uniformly random actions."""
    env.action_space.seed(seed)
    return lambda _: env.action_space.sample()


def play(env: Env, policy: Policy, *, name: str, seed: int, skip: int) -> Iterator[Moment]:
    """Play endlessly, one episode after another; yield the first moment of each and one after every action.

    Args:
        env: The environment, see `open_env`.
        policy: Chooses the actions.
        name: Id of the environment, for messages.
        seed: Seed of the first reset, from which the others follow.
        skip: Steps for which an action is repeated.

    Raises:
        ValueError: If there are no frames.
    """
    observation, _ = env.reset(seed=seed)
    yield _moment(env, observation, name, begins=True)
    while True:
        action = policy(observation)
        for _ in range(skip):
            observation, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                break
        yield _moment(env, observation, name, begins=False)
        if terminated or truncated:
            observation, _ = env.reset()
            yield _moment(env, observation, name, begins=True)


def _moment(env: Env, observation: Any, name: str, *, begins: bool) -> Moment:
    emulator = getattr(env.unwrapped, "ale", None)
    ram = None if emulator is None else np.array(emulator.getRAM(), dtype=np.uint8)
    return Moment(_frame(env, observation, name), ram, begins)


def _frame(env: Env, observation: Any, name: str) -> NDArray[np.uint8]:
    """Return the frame that the environment draws, or else its observation of pixels, as RGB (H, W, C)."""
    source = "render()" if env.render_mode == "rgb_array" else "the observation"
    with _explain_drawing(name):
        seen = np.asarray(env.render() if env.render_mode == "rgb_array" else observation)
    if seen.dtype == np.uint8 and seen.ndim == 2:
        seen = seen[..., None]
    if seen.dtype != np.uint8 or seen.ndim != 3 or seen.shape[2] not in (1, 3):
        raise ValueError(
            f"--env {name} must draw by render_mode='rgb_array' or observe pixels, uint8 of shape (H, W), (H, W, 1) or "
            f"(H, W, 3); {source} is {seen.dtype} of shape {brief(seen.shape)}"
        )
    return seen.repeat(3, axis=2) if seen.shape[2] == 1 else seen


@contextmanager
def _explain_drawing(name: str) -> Iterator[None]:
    """Re-raise any error of the environment's drawing, which has a type for each library, with the ways out."""
    try:
        yield
    except gymnasium.error.DependencyNotInstalled as err:
        raise ValueError(f"--env {name} cannot draw its frames: {first_line(err)}") from err
    except Exception as err:
        raise ValueError(
            f"--env {name} cannot draw its frames ({first_line(err)}); on a machine without a display, environments of "
            "pygame need SDL_VIDEODRIVER=dummy, those of MuJoCo MUJOCO_GL=egl or osmesa"
        ) from err
