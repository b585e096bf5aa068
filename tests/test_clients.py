"""Other people's clients of the environment: SB3's wrappers, RL Zoo's command line, TorchRL."""

import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import InvalidAction
from sb3_contrib import TRPO, RecurrentPPO
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

import tats_gym
from tats_gym.agents.stock.replay import ClipReplayBuffer
from tats_gym.agents.training.joint_training import JointTraining
from tats_gym.envs import TokenSelectionVecEnv, TokenSelectionVectorEnv
from tats_gym.model.optim import MAEOptimConfig, mae_optimizer
from tats_gym.registration import FROZEN_ENV
from tests.layouts import SMALL

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(name="settings")
def _settings(clips_root):
    return {**SMALL, "data": "folder", "root": str(clips_root)}


@pytest.fixture(name="scores_env")
def _scores_env(settings):
    env = TokenSelectionVecEnv(TokenSelectionVectorEnv(2, action="scores", **settings))
    yield env
    env.close()


def test_ids_with_scores_are_the_same_environments():
    for env_id in (*tats_gym.env_ids(), FROZEN_ENV):
        plain, scores = gymnasium.spec(env_id), gymnasium.spec(env_id.replace("TatsMask-", "TatsMaskScores-"))
        assert scores.kwargs == {**plain.kwargs, "action": "scores"}
        assert (scores.entry_point, scores.vector_entry_point) == (plain.entry_point, plain.vector_entry_point)


def test_an_id_alone_trains_a_policy_for_continuous_actions(settings):
    env = gymnasium.make("TatsMaskScores-folder-v0", **settings)
    PPO("MlpPolicy", env, n_steps=2, batch_size=2, device="cpu").learn(4)
    env.close()


@pytest.mark.parametrize(("algorithm", "policy"), [(PPO, "MlpPolicy"), (RecurrentPPO, "MlpLstmPolicy")])
def test_a_policy_that_repeats_tokens_is_told_of_scores(settings, algorithm, policy):
    env = gymnasium.make("TatsMask-folder-v0", **{**settings, "visible": 7})  # of 8: it will repeat one
    with pytest.raises(InvalidAction, match=r"chosen more than once; .* \(action='scores'\)"):
        algorithm(policy, env, n_steps=8, batch_size=8, device="cpu", seed=0).learn(8)
    env.close()


@pytest.mark.parametrize(
    ("algorithm", "policy"), [(TRPO, "MlpPolicy"), (RecurrentPPO, "MlpLstmPolicy")], ids=["TRPO", "RecurrentPPO"]
)
def test_contributed_algorithms_train_on_scores(scores_env, algorithm, policy):
    algorithm(policy, scores_env, n_steps=2, batch_size=4, device="cpu").learn(4)


@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor`")  # it has episodes' sums
@pytest.mark.parametrize("wrap", [VecMonitor, VecNormalize])
def test_the_mae_is_trained_under_sb3s_wrappers(scores_env, wrap):
    mae = scores_env.vector_env.mae
    before = {name: value.clone() for name, value in mae.state_dict().items()}
    recipe = MAEOptimConfig(epochs=2, warmup_epochs=1, base_lr=1.0)
    hook = JointTraining(mae_optimizer(mae, recipe, num_envs=2, steps_per_epoch=4))
    agent = PPO("MlpPolicy", wrap(scores_env), n_steps=2, batch_size=4, device="cpu")
    agent.learn(8, callback=hook)
    assert any(not torch.equal(before[name], value) for name, value in mae.state_dict().items())
    expected = scores_env.vector_env.observation()  # under the MAE's last weights
    if wrap is VecNormalize:
        expected = agent.env.normalize_obs(expected)
    np.testing.assert_array_equal(agent._last_obs, expected)


def test_an_off_policy_agent_stores_clips_where_sb3_would_store_tokens(scores_env):
    agent = SAC(
        "MlpPolicy", scores_env, replay_buffer_class=ClipReplayBuffer, buffer_size=8, learning_starts=4, batch_size=2,
        device="cpu",
    )  # fmt: skip
    agent.replay_buffer.attach(scores_env.vector_env)
    agent.learn(8)
    assert agent.replay_buffer.size() == 8


def test_rl_zoo_trains_by_its_command_line(settings, tmp_path):
    file = ROOT / "docs" / "examples" / "rl_zoo3.yml"
    for env_id in ("TatsMask-demo-v0", "TatsMaskScores-demo-v0"):
        assert f"\n{env_id}:\n" in file.read_text()
    small = file.read_text().replace("-demo-", "-folder-")
    (tmp_path / "small.yml").write_text(small)
    for env_id in ("TatsMask-folder-v0", "TatsMaskScores-folder-v0"):
        options = [f"{name}:{value!r}" for name, value in settings.items() if name != "data"]
        command = [
            *(sys.executable, "-m", "rl_zoo3.train", "--algo", "ppo", "--env", env_id, "--gym-packages", "tats_gym"),
            *("--conf-file", "small.yml", "-n", "16", "--eval-freq", "-1", "--log-folder", "logs", "--device", "cpu"),
            *("--env-kwargs", *options),
        ]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert list((tmp_path / "logs" / "ppo").glob(f"{env_id}_1/{env_id}.zip"))


def test_torchrls_own_checks_hold(settings):
    envs = pytest.importorskip("torchrl.envs")
    for env in (
        envs.GymEnv("TatsMask-folder-v0", action="scores", **settings),
        envs.GymWrapper(gymnasium.make_vec("TatsMask-folder-v0", num_envs=2, action="scores", **settings)),
    ):
        envs.check_env_specs(env)
        env.close()


@pytest.mark.parametrize("action", ["ids", "scores"])
def test_torchrl_over_tensors_steps_as_the_vector_environment(settings, action):
    envs = pytest.importorskip("torchrl.envs")
    from tats_gym.envs.torchrl import TokenSelectionTorchRL

    make = {"autoreset_mode": "disabled", "action": action, "reward": "gain", **settings}
    env = TokenSelectionTorchRL(gymnasium.make_vec("TatsMask-folder-v0", num_envs=3, **make))
    envs.check_env_specs(env)
    env.set_seed(5)
    steps = env.rollout(3, break_when_any_done=False)
    plain = TokenSelectionVectorEnv(3, **make)
    assert all(env.action_spec.is_in(each) for each in steps["action"].unbind(1))
    tokens, _ = plain.reset(seed=5)
    for number in range(3):
        np.testing.assert_allclose(steps["observation"][:, number], tokens, atol=1e-6)
        _, rewards, terminations, _, _ = plain.step(steps["action"][:, number].numpy())
        np.testing.assert_allclose(steps["next", "reward"][:, number, 0], rewards, atol=1e-6)
        assert terminations.all()
        assert steps["next", "terminated"][:, number].all()
        tokens, _ = plain.reset()
    env.close()
    plain.close()


def test_torchrl_resets_some_environments(settings):
    pytest.importorskip("torchrl")
    from tensordict import TensorDict

    from tats_gym.envs.torchrl import DistinctTokens, TokenSelectionTorchRL

    env = TokenSelectionTorchRL(TokenSelectionVectorEnv(2, autoreset_mode="disabled", **settings))
    env.set_seed(1)
    env.rollout(1)
    first = env.vector_env.clip_buffer.positions.tolist()
    env.reset(TensorDict({"_reset": torch.tensor([[False], [True]])}, batch_size=[2]))
    assert env.vector_env.clip_buffer.positions.tolist() == [first[0], 2]
    env.close()
    spec = DistinctTokens(6, torch.Size((4, 3)), "cpu", torch.int64)
    assert spec.is_in(spec.rand((5,)))
    assert not spec.is_in(torch.tensor([[0, 1, 1]] * 4))
    with pytest.raises(ValueError, match="make the environment with autoreset_mode='disabled', got 'same_step'"):
        TokenSelectionTorchRL(TokenSelectionVectorEnv(2, **settings))
    with pytest.raises(TypeError, match="expected a TokenSelectionVectorEnv, got CartPoleEnv"):
        TokenSelectionTorchRL(gymnasium.make("CartPole-v1"))


def test_the_example_over_tensors_trains(clips_root):
    command = [
        *(sys.executable, "docs/examples/ppo_tensors.py", "--env-id", "TatsMask-folder-v0", "--root", str(clips_root)),
        *("--updates", "2", "--num-envs", "4", "--mae", "tiny", "--device", "cpu"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "8 masks: gain" in done.stdout
    assert len((ROOT / command[1]).read_text().splitlines()) < 250
