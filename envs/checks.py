"""Checks of the arguments of step and reset, made before the environment changes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.error import Error, InvalidAction
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from tats_gym.envs.spaces import Subset, first_invalid_index
from tats_gym.messages import brief


def check_num_envs(num_envs: Any) -> int:
    """Return the number of environments, or raise TypeError or ValueError if it is not a whole number of at least 1."""
    if not isinstance(num_envs, int | np.integer):
        raise TypeError(f"num_envs must be a whole number, got {brief(num_envs)}")
    if num_envs < 1:
        raise ValueError(f"num_envs must be at least 1, got {num_envs}")
    return int(num_envs)


def check_episode_limit(max_episode_steps: Any) -> int | None:
    """Return a limit of steps, or raise as Gymnasium's TimeLimit does if it is neither None, -1 nor at least 1."""
    limit = max_episode_steps
    if limit is not None and (not isinstance(limit, int) or limit == 0 or limit < -1):
        raise ValueError(f"max_episode_steps must be at least 1, or -1 or None for no limit, got {brief(limit)}")
    return limit


def as_array(values: Any, name: str) -> NDArray[Any]:
    """Return values as an array, or raise InvalidAction where they do not form one, such as rows of unequal length."""
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError, OverflowError) as err:  # lists, objects and tensors raise their own
        raise InvalidAction(f"{name} must be an array of numbers, got {brief(values)} ({err})") from err


def check_ids(actions: Any, num_envs: int, space: Subset) -> NDArray[np.int64]:
    """Return actions (B, K) as int64, or raise InvalidAction naming their first fault."""
    ids = as_array(actions, "an action")
    expected = (num_envs, space.num_visible)
    if ids.shape != expected:
        raise InvalidAction(f"expected {space.num_visible} token indices a clip, shape {expected}, got {ids.shape}")
    if not np.issubdtype(ids.dtype, np.integer):
        raise InvalidAction(f"token indices must be integers, got {ids.dtype}")
    fault = first_invalid_index(ids, space.num_tokens)
    if fault:
        raise InvalidAction(fault)
    return ids.astype(np.int64)


def check_scores(actions: Any, num_envs: int, num_tokens: int) -> NDArray[np.float32]:
    """Return actions (B, L) as float32, or raise InvalidAction naming their first fault.

    Scores outside the bounds of the space are allowed: only their order counts.
    """
    array = as_array(actions, "an action")
    if array.shape != (num_envs, num_tokens):
        raise InvalidAction(f"expected one score a token, shape {(num_envs, num_tokens)}, got {array.shape}")
    if array.dtype.kind not in "iuf":
        raise InvalidAction(f"scores must be real numbers, got {array.dtype}")
    with np.errstate(over="ignore"):  # an overflow is found below
        scores = array.astype(np.float32)
    if not np.isfinite(scores).all():
        row, column = np.argwhere(~np.isfinite(scores))[0]
        raise InvalidAction(f"the score of token {column} of clip {row} is {array[row, column]}; it must be finite")
    return scores


def check_seed(seed: Any) -> int:
    """Return a seed as int, or raise TypeError or ValueError if it is not a whole number of at least 0."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"seed must be a whole number or None, got {brief(seed)}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {brief(seed)}")
    return int(seed)


def check_seeds(seed: Any, num_envs: int) -> int | None:
    """Return the seed to use, or None; of a list with one seed for each environment, the first."""
    if not isinstance(seed, list):
        return None if seed is None else check_seed(seed)
    if len(seed) != num_envs:
        raise ValueError(f"seed must be one number, or {num_envs} in a list, got {brief(seed)}")
    first, *_ = (None if each is None else check_seed(each) for each in seed)
    return first


def check_options(options: Any) -> Mapping[str, Any]:
    """Return the options of reset, at most one of `clips` and `reset_mask`, or raise gymnasium's Error."""
    if options is not None and not isinstance(options, Mapping):
        raise Error(f"options must be a dict or None, got {brief(options)}")
    chosen: Mapping[str, Any] = options or {}
    if len(chosen) > 1 or any(name not in ("clips", "reset_mask") for name in chosen):
        raise Error(f"the options of reset must be 'clips' or 'reset_mask', one of them, got {brief([*chosen])}")
    return chosen


def check_reset_mask(option: Any, num_envs: int, mode: AutoresetMode) -> NDArray[np.bool_]:
    """Return a reset mask (B,), or raise gymnasium's Error if its type, shape or values are wrong, or the mode is."""
    if mode is not AutoresetMode.DISABLED:
        raise Error("the option reset_mask needs autoreset_mode 'disabled': here steps load the next clips")
    reset_mask = as_array(option, "reset_mask")
    if reset_mask.dtype != np.bool_ or reset_mask.shape != (num_envs,) or not reset_mask.any():
        raise Error(f"reset_mask must be bool of shape ({num_envs},) with at least one True, got {brief(option)}")
    return reset_mask
