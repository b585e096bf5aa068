"""The environments: one contract for every id, and the physics by hand."""

import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import batch_space
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import tats_gym
from tats_gym.envs import TokenSelectionEnv, TokenSelectionVectorEnv
from tats_gym.model.videomae import MAE_PRESETS, MaskedAutoencoder
from tats_gym.registration import FROZEN_ENV, data_of
from tats_gym.tokens import TokenGrid
from tests.layouts import SMALL, write_layout


@pytest.fixture(scope="module", name="roots")
def _roots(tmp_path_factory):
    """Every dataset's files; the demo's own maker is left out by reading its layout as ssv2 does."""
    return {
        data: write_layout(data, tmp_path_factory.mktemp(data))
        for data in ("ssv2", "k400", "ucf101", "hmdb51", "list", "folder", "frames", "images", "atari")
    }


@pytest.fixture(params=[*tats_gym.env_ids(), FROZEN_ENV], name="env_id")
def _env_id(request):
    return request.param


@pytest.fixture(name="settings")
def _settings(env_id, roots, demo_root):
    data = data_of(env_id)
    if env_id == FROZEN_ENV:
        return {**SMALL, "data": "folder", "root": str(roots["folder"])}
    return {**SMALL, "root": str(demo_root if data == "demo" else roots[data])}


@pytest.fixture(name="folder")
def _folder(clips_root):
    return {**SMALL, "data": "folder", "root": str(clips_root)}


def test_gymnasiums_checker_passes_without_a_warning(env_id, settings):
    env = gymnasium.make(env_id, render_mode="rgb_array", **settings)
    with warnings.catch_warnings():
        # An embedding has no bounds; Gymnasium would like some, and says so at both ends.
        warnings.filterwarnings("ignore", message=".*A Box observation space m..imum value is.*infinity.*")
        check_env(env.unwrapped)
    env.close()


@pytest.mark.parametrize("action", ["ids", "scores"])
def test_sb3s_checker_passes_without_a_warning(env_id, settings, action):
    env = gymnasium.make(env_id, action=action, **settings)
    with warnings.catch_warnings():
        # Tokens are (L, D), which SB3 would flatten for its own networks; ours take them as they are.
        warnings.filterwarnings("ignore", message=".*unconventional shape.*")
        # Scores lie in [-5, 5]: within [-1, 1] and at unit deviation most would tie at the bound.
        warnings.filterwarnings("ignore", message=".*recommend you to use a symmetric and normalized Box.*")
        sb3_check_env(env.unwrapped)
    env.close()


@pytest.mark.parametrize("action", ["ids", "scores"])
def test_the_vector_contract(env_id, settings, action):
    env = gymnasium.make_vec(env_id, num_envs=3, action=action, **settings)
    assert env.num_envs == 3
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert env.observation_space == batch_space(env.single_observation_space, 3)
    assert env.action_space == batch_space(env.single_action_space, 3)
    assert env.action_space.shape[1] == (3 if action == "ids" else 8)

    env.action_space.seed(0)
    observations, infos = env.reset(seed=7)
    assert env.observation_space.contains(observations)
    assert infos["_clips"].all()
    for _ in range(3):
        actions = env.action_space.sample()
        assert env.action_space.contains(actions)
        following, rewards, terminations, truncations, infos = env.step(actions)
        assert env.observation_space.contains(following)
        assert not np.shares_memory(following, observations)
        assert rewards.shape == (3,)
        assert rewards.dtype == np.float32
        assert np.isfinite(rewards).all()
        assert terminations.dtype == truncations.dtype == np.bool_
        assert terminations.all()
        assert not truncations.any()
        errors = infos["final_info"]["errors"]
        assert (errors > 0).sum(1).tolist() == [5, 5, 5]
        np.testing.assert_allclose(rewards, -errors.sum(1) / 5, rtol=1e-5)
        observations = following

    again = gymnasium.make_vec(env.spec)
    np.testing.assert_array_equal(again.reset(seed=7)[0], env.reset(seed=7)[0])
    again.close()
    env.close()
    env.close()


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
@pytest.mark.parametrize("action", ["ids", "scores"])
def test_the_batch_equals_single_environments(folder, action, mode):
    settings = {**folder, "action": action}
    native = TokenSelectionVectorEnv(3, autoreset_mode=mode, **settings)
    single = SyncVectorEnv([lambda: TokenSelectionEnv(**settings)] * 3, autoreset_mode=mode)
    native.action_space.seed(0)
    observations, _ = native.reset(seed=0, options={"clips": [4, 0, 2]})
    theirs = [env.reset(seed=0, options={"clips": [i]})[0] for env, i in zip(single.envs, (4, 0, 2), strict=True)]
    np.testing.assert_allclose(observations, np.stack(theirs), atol=1e-5)
    actions = native.action_space.sample()
    ours, theirs = native.step(actions), single.step(actions)
    for mine, other in zip(ours[1:4], theirs[1:4], strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5)
    errors, their_errors = (each[4].get("final_info", each[4])["errors"] for each in (ours, theirs))
    np.testing.assert_allclose(errors, np.stack(their_errors), atol=1e-5)
    for _ in range(3):  # each environment alone goes on with clips of its own
        ours, theirs = native.step(actions), single.step(actions)
        np.testing.assert_array_equal(ours[1] == 0, theirs[1] == 0)
        for mine, other in zip(ours[2:4], theirs[2:4], strict=True):
            np.testing.assert_array_equal(mine, other)
        assert ("errors" in ours[4]) == ("errors" in theirs[4])
    native.close()
    single.close()


def test_a_step_agrees_with_the_mae(folder):
    env = TokenSelectionVectorEnv(2, **folder)
    observations, _ = env.reset(seed=0, options={"clips": [1, 3]})
    clips = env.clip_buffer.stream.centre([1, 3]).pixels
    np.testing.assert_allclose(observations, env.mae.embed(clips).numpy(), atol=1e-6)
    ids = np.array([[0, 3, 6], [7, 1, 2]])
    before = {name: value.clone() for name, value in env.mae.state_dict().items()}
    _, rewards, _, _, infos = env.step(ids)
    with torch.no_grad():
        expected = env.mae(clips, torch.from_numpy(ids)).errors
    np.testing.assert_allclose(rewards, -expected.mean(1).numpy(), atol=1e-6)
    np.testing.assert_allclose(infos["final_info"]["errors"][0, [1, 2, 4, 5, 7]], expected[0].numpy(), atol=1e-6)
    assert infos["final_info"]["clips"].tolist() == [1, 3]
    assert infos["final_info"]["positions"].tolist() == [-1, -1]
    assert infos["positions"].tolist() == [0, 1]
    assert all(torch.equal(before[name], value) for name, value in env.mae.state_dict().items())
    assert not env.loss.requires_grad
    env.close()


def test_positions_say_which_clips_were_masked(folder):
    env = TokenSelectionVectorEnv(2, **folder)
    observations, infos = env.reset(seed=3)
    for first in (0, 2):
        assert infos["positions"].tolist() == [first, first + 1]
        again = env.clip_buffer.stream.again(infos["positions"].tolist())
        np.testing.assert_array_equal(env.embed(again.pixels).numpy(), observations)
        assert again.ids.tolist() == infos["clips"].tolist()
        observations, *_, infos = env.step(np.array([[0, 1, 2], [5, 6, 7]]))
        assert infos["final_info"]["positions"].tolist() == [first, first + 1]
    env.resume(7, seed=3)
    assert env.step_tensors(torch.tensor([[0, 1, 2], [5, 6, 7]])).positions.tolist() == [7, 8]
    env.close()


def test_scores_show_the_highest(folder):
    by_score, by_id = (TokenSelectionVectorEnv(1, action=a, **folder) for a in ("scores", "ids"))
    rewards = []
    scores = np.array([[0.1, 4, -1, 3, -5, 2, 0, -2]], dtype=np.float32)
    for env, action in ((by_score, scores), (by_id, np.array([[3, 1, 5]]))):
        env.reset(seed=0)
        rewards.append(env.step(action)[1])
        env.close()
    np.testing.assert_allclose(rewards[0], rewards[1], atol=1e-6)


def test_the_rewards_follow_their_names(folder):
    rewards = {}
    for reward in ("error", "neg_error", "gain"):
        env = TokenSelectionVectorEnv(2, reward=reward, **folder)
        env.reset(seed=5)
        rewards[reward] = env.step(np.array([[0, 1, 2], [3, 4, 5]]))[1]
        env.close()
    np.testing.assert_allclose(rewards["error"], -rewards["neg_error"])
    assert (rewards["error"] > 0).all()
    assert (np.abs(rewards["gain"]) < 0.5 * rewards["error"]).all()
    assert (rewards["gain"] != 0).any()


def test_gain_of_the_random_mask_itself_is_zero(folder, monkeypatch):
    env = TokenSelectionVectorEnv(2, reward="gain", **folder)
    env.reset(seed=5)
    ids = torch.tensor([[0, 1, 2], [3, 4, 5]])
    monkeypatch.setattr(env, "_random_ids", lambda num_visible: ids)
    np.testing.assert_allclose(env.step(ids.numpy())[1], 0, atol=1e-6)
    env.close()


def test_a_seed_settles_clips_crops_and_rewards(folder):
    def trace(seed):
        env = TokenSelectionVectorEnv(2, **folder)
        observations, _ = env.reset(seed=seed)
        trace = [observations.sum()]
        for _ in range(6):
            observations, rewards, *_ = env.step(np.array([[0, 1, 2], [5, 6, 7]]))
            trace += [observations.sum(), *rewards]
        env.close()
        return trace

    assert trace(1) == trace(1)
    assert trace(1) != trace(2)


def test_the_graph_is_kept_only_where_a_trainer_asks(folder):
    env = TokenSelectionVectorEnv(2, **folder)
    env.reset(seed=0)
    env.keep_graph = True
    outcome = env.step_tensors(torch.tensor([[0, 1, 2], [5, 6, 7]]))
    assert not outcome.errors.requires_grad
    env.loss.backward()
    assert env.mae.encoder.patch_embed.proj.weight.grad.abs().sum() > 0
    torch.testing.assert_close(env.loss.detach(), outcome.errors.sum() / 10)
    env.close()


def test_rendering_draws_each_clip_of_the_last_step(folder):
    env = TokenSelectionVectorEnv(2, render_mode="rgb_array", **folder)
    env.reset(seed=0)
    unmasked = env.render()[0]
    env.step(env.action_space.sample())
    one, two = env.render()
    assert unmasked.shape == one.shape
    assert (unmasked != one).any()
    assert one.dtype == np.uint8
    assert one.ndim == 3
    assert (one != two).any()
    env.close()


def test_an_attached_mae_must_share_the_geometry(folder):
    env = TokenSelectionVectorEnv(1, **folder)
    other = MaskedAutoencoder(MAE_PRESETS["tiny"], TokenGrid(frames=8, size=32, visible=3))
    with pytest.raises(ValueError, match="make both with the same TokenGrid"):
        env.attach(other)
    env.close()
