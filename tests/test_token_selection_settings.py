"""The environment's settings: refused ones, and clips that several environments hold."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import Error, InvalidAction, ResetNeeded

import tats_gym
from tats_gym.clips import MissingDataError
from tats_gym.datasets import DATASETS
from tats_gym.envs import TokenSelectionVectorEnv
from tats_gym.registration import data_of
from tests.layouts import SMALL


@pytest.fixture(name="folder")
def _folder(clips_root):
    return {**SMALL, "data": "folder", "root": str(clips_root)}


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"mask_ratoi": 0.9}, TypeError, "unexpected keyword argument 'mask_ratoi'; did you mean 'mask_ratio'"),
        ({"reward": "money"}, ValueError, "reward must be one of"),
        ({"action": "pixels"}, ValueError, "action must be one of"),
        ({"autoreset_mode": "later"}, ValueError, "autoreset_mode must be one of"),
        ({"render_mode": "human"}, ValueError, "render_mode must be one of"),
        ({"mae": "bse"}, ValueError, "mae must be one of .*did you mean 'base'"),
        ({"precision": "fp8"}, ValueError, "precision must be one of"),
        ({"visible": 0}, ValueError, "at least one token must be visible"),
        ({"frames": 5}, ValueError, "frames must be a multiple of tubelet_size"),
        ({"size": 33}, ValueError, "size must be a multiple of patch_size"),
        ({"size": (48, 64)}, TypeError, r"size must be a whole number, got \(48, 64\)"),
        ({"frames": 4.0}, TypeError, r"frames must be a whole number, got 4\.0"),
        ({"visible": "3"}, TypeError, "visible must be a whole number, got '3'"),
        ({"mask_ratio": None}, TypeError, "mask_ratio must be a number, got None"),
        ({"stride": 1.5}, TypeError, r"stride must be a whole number, got 1\.5"),
        ({"flip": "no"}, TypeError, "flip must be true or false, got 'no'"),
        ({"decode_ratio": "1"}, TypeError, "decode_ratio must be a number, got '1'"),
        ({"masks_per_clip": 2.0}, TypeError, r"masks_per_clip must be a whole number, got 2\.0"),
    ],
)
def test_bad_settings_are_named(folder, settings, error, message):
    def make_and_reset():
        TokenSelectionVectorEnv(1, **{**folder, **settings}).reset(seed=0)

    with pytest.raises(error, match=message):
        make_and_reset()


def test_bad_calls_are_named(folder, tmp_path):
    with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
        TokenSelectionVectorEnv(0, **folder)
    with pytest.raises(TypeError, match=r"num_envs must be a whole number, got \(2,\)"):
        TokenSelectionVectorEnv((2,), **folder)
    env = TokenSelectionVectorEnv(2, **folder)
    with pytest.raises(ResetNeeded, match=r"call reset\(\) before the first step"):
        env.step(np.array([[0, 1, 2], [0, 1, 2]]))
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match="token 2 of clip 1 is chosen more than once"):
        env.step(np.array([[0, 1, 2], [2, 1, 2]]))
    with pytest.raises(gymnasium.error.Error, match=r"must name 2 clips, one for each environment, got 1"):
        env.reset(options={"clips": [0]})
    with pytest.raises(gymnasium.error.Error, match="the options of reset must be"):
        env.reset(options={"clip": [0]})
    with pytest.raises(gymnasium.error.Error, match=r"options\['clips'\] must lie in \[0, \d+\), got 99"):
        env.reset(options={"clips": [0, 99]})
    env.close()


@pytest.mark.parametrize("env_id", [i for i in tats_gym.env_ids() if DATASETS[data_of(i)].generator is None])
def test_missing_data_say_where_they_were_looked_for(env_id, tmp_path):
    with pytest.raises(MissingDataError, match="TatsMask-demo-v0") as caught:
        gymnasium.make_vec(env_id, num_envs=1, root=str(tmp_path / "nowhere"))
    assert str(tmp_path / "nowhere") in str(caught.value)


def test_environments_in_a_row_can_hold_the_same_clip(folder):
    env = TokenSelectionVectorEnv(6, masks_per_clip=3, reward="gain", **folder)
    observations, infos = env.reset(seed=0)
    clips = infos["clips"].tolist()
    assert clips == [clips[0]] * 3 + [clips[3]] * 3
    assert clips[0] != clips[3]
    assert (observations[:3] == observations[0]).all()
    assert not np.array_equal(observations[0], observations[3])
    assert env.observe().shape[0] == env.clip_buffer.pixels.shape[0] == env.clip_buffer.num_clips == 2
    assert env.clip_buffer.stream.position == 2

    single = TokenSelectionVectorEnv(2, mae_seed=0, **folder)
    single.attach(env.mae)
    assert np.array_equal(single.reset(seed=0)[0], observations[[0, 3]])
    actions = env.action_space.sample()
    outcome = env.step_tensors(torch.from_numpy(actions))
    assert outcome.clips.tolist() == clips
    for row, clip in ((0, 0), (2, 0), (4, 1)):
        single.reset(seed=0)
        alone = single.step_tensors(torch.from_numpy(actions[[row, row]]))
        torch.testing.assert_close(outcome.errors[row], alone.errors[clip], atol=1e-6, rtol=1e-5)
    env.reset(options={"clips": [1, 0]})
    assert env.clip_buffer.clips.tolist() == [1, 1, 1, 0, 0, 0]
    for each in (env, single):
        each.close()


@pytest.mark.parametrize(
    ("num_envs", "settings", "message"),
    [
        (4, {"masks_per_clip": 3}, "num_envs must be a multiple of masks_per_clip, got 4 and 3"),
        (4, {"masks_per_clip": 0}, "masks_per_clip must be at least 1, got 0"),
        (
            4,
            {"masks_per_clip": 2, "autoreset_mode": "disabled"},
            "masks_per_clip 2 needs autoreset_mode 'same_step' or 'next_step'",
        ),
    ],
)
def test_groups_that_cannot_be_are_refused(folder, num_envs, settings, message):
    with pytest.raises(ValueError, match=message):
        TokenSelectionVectorEnv(num_envs, **folder, **settings)


def test_each_clip_of_a_group_is_named_once(folder):
    env = TokenSelectionVectorEnv(4, masks_per_clip=2, **folder)
    with pytest.raises(Error, match="must name 2 clips, one for each 2 environments, got 4"):
        env.reset(options={"clips": [0, 1, 2, 3]})
    env.close()
