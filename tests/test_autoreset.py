"""Resets between episodes: Gymnasium's modes, its limit of steps, and the closed environment."""

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

from tats_gym.envs import TokenSelectionVectorEnv
from tests.layouts import SMALL


@pytest.fixture(name="folder")
def _folder(clips_root):
    return {**SMALL, "data": "folder", "root": str(clips_root)}


def test_disabled_autoreset_leaves_the_reset_to_the_caller(folder):
    env = TokenSelectionVectorEnv(3, autoreset_mode="disabled", **folder)
    assert env.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    first, _ = env.reset(seed=0)
    actions = np.array([[0, 1, 2]] * 3)
    same, _, terminations, _, infos = env.step(actions)
    np.testing.assert_array_equal(first, same)
    assert terminations.all()
    assert infos["errors"].shape == (3, 8)
    with pytest.raises(ResetNeeded, match=r"environments \[0, 1, 2\] have ended"):
        env.step(actions)
    assert infos["positions"].tolist() == [0, 1, 2]
    new, infos = env.reset(options={"reset_mask": np.array([True, False, True])})
    assert infos["positions"].tolist() == [3, 1, 4]
    np.testing.assert_array_equal(new[1], first[1])
    np.testing.assert_array_equal(env.embed(env.clip_buffer.stream.again([3, 1, 4]).pixels), new)
    assert (new[0] != first[0]).any()
    with pytest.raises(ResetNeeded, match=r"environments \[1\] have ended"):
        env.step(actions)
    env.reset(options={"reset_mask": np.array([False, True, False])})
    env.step(actions)
    with pytest.raises(gymnasium.error.Error, match="reset_mask must be bool"):
        env.reset(options={"reset_mask": np.array([False, False, False])})
    env.close()


def test_next_step_returns_the_next_clips_a_step_later(folder):
    env = TokenSelectionVectorEnv(2, autoreset_mode="next_step", masks_per_clip=2, **folder)
    assert env.autoreset_mode is AutoresetMode.NEXT_STEP
    first, infos = env.reset(seed=0)
    actions = np.array([[0, 1, 2], [5, 6, 7]])
    same, rewards, terminations, _, infos = env.step(actions)
    np.testing.assert_array_equal(first, same)
    assert (rewards < 0).all()
    assert terminations.all()
    assert infos["positions"].tolist() == [0, 0]
    following, rewards, terminations, truncations, infos = env.step(np.full((2, 3), -1))  # ignored
    np.testing.assert_array_equal(following, env.observation())
    assert not rewards.any()
    assert not (terminations | truncations).any()
    assert infos["positions"].tolist() == [1, 1]
    assert env.step(actions)[2].all()
    env.close()


@pytest.mark.parametrize("mode", AutoresetMode)
def test_modes_are_gymnasiums(folder, mode):
    for given in (mode, mode.value, mode.name.lower()):
        env = TokenSelectionVectorEnv(1, autoreset_mode=given, **folder)
        assert env.autoreset_mode is env.metadata["autoreset_mode"] is mode
        env.close()


def test_a_limit_of_steps_truncates_as_gymnasiums_time_limit(folder):
    for limit in (1, 2, -1, None):
        native = TokenSelectionVectorEnv(1, max_episode_steps=limit, **folder)
        single = gymnasium.make("TatsMask-folder-v0", max_episode_steps=limit, **folder)
        native.reset(seed=0)
        single.reset(seed=0)
        actions = native.action_space.sample()
        assert native.step(actions)[3].tolist() == [single.step(actions[0])[3]]
        native.close()
        single.close()
    for limit in (0, -2, 1.5):
        with pytest.raises(ValueError, match="max_episode_steps must be at least 1, or -1 or None"):
            TokenSelectionVectorEnv(1, max_episode_steps=limit, **folder)


def test_a_closed_environment_stays_closed(folder):
    env = TokenSelectionVectorEnv(1, **folder)
    env.reset(seed=0)
    env.close()
    calls = env.reset, env.observe, lambda: env.step(env.action_space.sample()), lambda: env.resume(0, 0)
    for call in calls:
        with pytest.raises(gymnasium.error.ClosedEnvironmentError, match="closed; make it again"):
            call()
