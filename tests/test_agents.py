"""The table of agents, and the abilities that each of them must have."""

import copy
import pickle
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from sb3_contrib import TRPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from tats_gym.agents import AGENTS, TatsPolicy, find_agent
from tats_gym.agents.config import PRESETS, OffPolicyConfig, PretrainConfig, TatsConfig
from tats_gym.agents.policy import SamplerConfig
from tats_gym.agents.requirements import resolve_settings
from tats_gym.agents.rollouts import TokenRollouts
from tats_gym.agents.training.predict import choose
from tats_gym.envs.spaces import first_invalid_index
from tats_gym.model.optim import MAEOptimConfig
from tests.toy import BEST_ERROR, UNIFORM_ERROR, toy_env

pytestmark = pytest.mark.long

BY_CLIP = {"motion", "everest", "expected_error"}
"""Fixed masks that depend on the clip."""
# `frame` shows 16 tokens of the toy's 64, not 8.
FIXED = BY_CLIP | {"random", "random_ratio", "tube", "block", "cell", "jepa", "green3d", "constant"}
LEARN = {
    "tats": [{"credit": "token"}, {"credit": "position"}, {"credit": "joint"}, {"credit": "marginal"}],
    "group": [{"credit": "token"}, {"credit": "position"}, {"credit": "joint"}, {"credit": "marginal"}],
    "gumbel": [{}],
    "grpo": [{}],
    "dr_grpo": [{}],
    "adamae": [{}],
    "loss_predictor": [{}],
    "ppo": [{}],
    "a2c": [{}],
    "trpo": [{}],
}
"""Agents that learn, and the settings with which they are tried."""
OWN = {"loss_predictor": {"show": "hard", "end": 1.0}}
"""Agents' own settings with which they show the hard tokens."""
OFF_POLICY = {"sac", "td3", "tqc"}
"""Stock agents whose learning is tried with their networks."""


def _config(name, num_envs=16, **tats):
    config = PretrainConfig(
        agent=name,
        agent_settings=OWN.get(name, {}),
        num_envs=num_envs,
        device="cpu",
        epoch_masks=16 * 60,
        sampler=SamplerConfig(critic="separate"),
        tats=TatsConfig(learning_rate=3e-3, warmup_epochs=0, policy_coef=1.0, vf_coef=0.5, ent_coef=0.01, **tats),
    )
    off_policy = OffPolicyConfig(learning_starts=4, batch_size=4, buffer_size=64)
    optim = {"epochs": 1, "warmup_epochs": 0, "base_lr": 3e-3 * 256 / 16, "min_lr": 3e-3 * 256 / 16}
    return resolve_settings(replace(config, off_policy=off_policy, mae_optim=MAEOptimConfig(**optim)), find_agent(name))


def _make(root, name, num_envs=16, **tats):
    """An agent in the toy environment."""
    config = _config(name, num_envs, **tats)
    env = toy_env(root, num_envs, action=config.action, masks_per_clip=config.masks_per_clip)
    return find_agent(name)(env, config), env


def _error(agent, env):
    """Mean error over 16 fresh steps of the agent's own masks."""
    rewards = [env.vector_env.step_tensors(_masks(agent, env)).rewards.mean() for _ in range(16)]
    return -torch.stack(rewards).mean().item()


def _masks(agent, env):
    """Mask the current clips as a trained agent does."""
    clips = env.vector_env.clip_buffer.for_each_mask(env.vector_env.clip_buffer.pixels)
    tokens = env.vector_env.clip_buffer.for_each_mask(env.vector_env.observe())
    return choose(agent.policy, tokens, clips, env.vector_env.grid.num_visible)


def test_every_agent_is_held_to_the_contract():
    assert FIXED | set(LEARN) | OFF_POLICY | {"frame"} == set(AGENTS)


@pytest.mark.parametrize(("name", "tats"), [(name, tats) for name, many in LEARN.items() for tats in many])
def test_it_learns_to_show_the_hard_tokens(clips_root, name, tats):
    agent, env = _make(clips_root, name, **tats)
    if name != "adamae":  # whose head starts at random, as published
        assert _error(agent, env) == pytest.approx(UNIFORM_ERROR, abs=0.02)
    agent.learn(16 * (25 if name == "trpo" else 60))
    share = 0.5 if name == "adamae" else 0.7  # it shows tokens in proportion to their error, and stops there
    assert _error(agent, env) < UNIFORM_ERROR - share * (UNIFORM_ERROR - BEST_ERROR)
    env.close()


@pytest.mark.parametrize("name", sorted(FIXED - BY_CLIP))
def test_fixed_masks_err_as_uniform_ones_where_they_do_not_depend_on_the_clip(clips_root, name):
    agent, env = _make(clips_root, name)
    agent.learn(16 * 4)
    assert agent.num_timesteps == 64
    assert _error(agent, env) == pytest.approx(UNIFORM_ERROR, abs=0.03)
    env.close()


@pytest.mark.parametrize("name", sorted(set(AGENTS) - {"frame"}))
def test_equal_seeds_make_equal_agents_that_mask_legally(clips_root, name):
    def train():
        agent, env = _make(clips_root, name, num_envs=8)
        agent.learn(32)
        torch.manual_seed(0)
        masks = _masks(agent, env)
        env.close()
        return list(agent.policy.parameters()), masks

    (one, masks), (two, again) = train(), train()
    assert masks.shape == (8, 8)
    assert first_invalid_index(masks.numpy(), 64) is None
    assert torch.equal(masks, again)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(one, two, strict=True))


@pytest.mark.parametrize("name", sorted(set(AGENTS) - {"frame", "ppo", "trpo"}))
def test_it_works_with_as_few_masks_as_it_can(clips_root, name):
    per_clip = _config(name).masks_per_clip
    agent, env = _make(clips_root, name, num_envs=per_clip)
    agent.learn(2 * per_clip)
    assert agent.num_timesteps == 2 * per_clip
    assert _masks(agent, env).shape == (per_clip, 8)
    env.close()


def test_frame_masks_need_their_own_number_of_tokens(clips_root):
    with pytest.raises(ValueError, match="must be a multiple of 16, got 8 of 64"):
        _make(clips_root, "frame")


class _Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('code in the file was run')",)


@pytest.mark.parametrize("name", sorted(set(AGENTS) - {"frame"}))
def test_it_is_saved_and_loaded_without_running_code_from_the_file(clips_root, tmp_path, name):
    agent, env = _make(clips_root, name, num_envs=8)
    agent.learn(16)
    agent.save(tmp_path / "agent.zip")
    with zipfile.ZipFile(tmp_path / "agent.zip") as made, zipfile.ZipFile(tmp_path / "bomb.zip", "w") as bomb:
        for each in made.namelist():
            bomb.writestr(each, pickle.dumps(_Bomb()) if each == "data" else made.read(each))
    other, _ = _make(clips_root, name, num_envs=8)
    for parameter in other.policy.parameters():
        parameter.data.normal_()
    other.set_parameters(tmp_path / "bomb.zip")
    for ours, theirs in zip(agent.policy.parameters(), other.policy.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    masks = []
    for each in (agent, other):
        torch.manual_seed(0)
        masks.append(_masks(each, env))
    assert torch.equal(*masks)
    env.close()


def test_trpo_as_it_comes_improves_within_its_trust_region(clips_root):
    """Its line search finds a step of at most .01 nats, TRPO's own default; `trpo` is tried longer above."""
    env = toy_env(clips_root)
    agent = TRPO(TatsPolicy, env, n_steps=2, batch_size=32, seed=0, device="cpu")
    agent.learn(16 * 2)
    logged = agent.logger.name_to_value
    assert logged["train/is_line_search_success"] == 1
    assert 1e-4 < logged["train/kl_divergence_loss"] < 0.01
    assert agent.policy.actor_head.weight.any()  # zero at the start
    env.close()


class _Copies(BaseCallback):
    """Copies the policy whenever callbacks are asked, as those do that keep the best one or an average."""

    def __init__(self):
        super().__init__()
        self.moments = set()

    def _copy(self, moment):
        ours = self.model.policy
        theirs = copy.deepcopy(ours)
        values = zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
        assert all(torch.equal(*pair) and pair[0].data_ptr() != pair[1].data_ptr() for pair in values)
        self.moments.add(moment)

    def _on_rollout_start(self):
        self._copy("rollout start")

    def _on_step(self):
        self._copy("step")
        return True

    def _on_rollout_end(self):
        self._copy("rollout end")

    def _on_training_end(self):
        self._copy("training end")


@pytest.mark.parametrize("name", sorted(set(AGENTS) - {"frame"}))
def test_its_policy_can_be_copied_at_any_moment(clips_root, name):
    agent, env = _make(clips_root, name, num_envs=8)
    copies = _Copies()
    agent.learn(32, callback=copies)
    assert copies.moments == {"rollout start", "step", "rollout end", "training end"}
    copied, masks = copy.deepcopy(agent.policy), []
    for policy in (agent.policy, copied):
        torch.manual_seed(0)
        masks.append(_masks(SimpleNamespace(policy=policy), env))
    assert torch.equal(*masks)
    env.close()


def test_copying_a_policy_does_not_change_its_learning(clips_root):
    weights = []
    for callback in (None, _Copies()):
        agent, env = _make(clips_root, "tats", num_envs=8)
        agent.learn(32, callback=callback)
        weights.append(torch.cat([each.flatten() for each in agent.policy.parameters()]))
        env.close()
    assert torch.equal(*weights)


def test_a_reward_of_the_other_sign_teaches_the_opposite(clips_root):
    config = _config("tats", credit="position")
    env = toy_env(clips_root, reward="error")
    agent = find_agent("tats")(env, config)
    agent.learn(16 * 60)
    assert -_error(agent, env) > UNIFORM_ERROR + 0.05  # the reward is +error here
    env.close()


def test_the_constant_control_masks_every_clip_alike(clips_root):
    agent, env = _make(clips_root, "constant")
    masks = _masks(agent, env)
    assert (masks == masks[0]).all()
    assert len(set(masks[0].tolist())) == 8
    outcome = env.vector_env.step_tensors(agent.rule_ids(env.vector_env))
    assert not outcome.predicted[:, masks[0]].any()
    torch.manual_seed(1)
    assert not torch.equal(masks, _masks(_make(clips_root, "random")[0], env))
    env.close()


def test_motion_masks_ask_for_pixels(clips_root):
    agent, env = _make(clips_root, "motion")
    with pytest.raises(ValueError, match=r"call policy.ids_keep\(clips, num_visible\)"):
        agent.predict(env.vector_env.observation())
    env.close()


def test_agents_of_this_package_keep_their_rollouts_on_the_device(clips_root):
    for name in AGENTS:
        if name in OFF_POLICY | {"frame", "ppo", "a2c", "trpo"}:
            continue
        agent, env = _make(clips_root, name)
        assert isinstance(agent, TokenRollouts)
        assert isinstance(agent, OnPolicyAlgorithm)
        assert AGENTS[name].baseline in (None, agent.rollout_buffer_kwargs.get("baseline"))
        env.close()


@pytest.mark.parametrize("name", ["ppo", "trpo"])
def test_one_mask_a_step_is_too_little_to_normalise_over(clips_root, name):
    with pytest.raises(ValueError, match=rf"--agent {name} .* needs 2 masks, got 1 \(num_envs 1, tats.n_steps 1\)"):
        _make(clips_root, name, num_envs=1)


def test_the_paper_presets_hold_its_tables():
    for data, stride in (("ssv2", 2), ("k400", 4), ("ucf101", 2), ("hmdb51", 2)):
        preset = PRESETS[f"paper-{data}"]
        assert (preset.num_envs, preset.clips.stride, preset.clips.crop) == (32, stride, "multiscale")
        assert (preset.grid.num_tokens, preset.grid.num_visible) == (1568, 78)
        optim, tats = preset.mae_optim, preset.tats
        assert (optim.base_lr, optim.betas, optim.warmup_epochs) == (1.5e-4, (0.9, 0.95), 40)
        assert (tats.learning_rate, tats.warmup_epochs, tats.n_steps) == (1.5e-6, 10, 1)
        assert (tats.policy_coef, tats.vf_coef, tats.ent_coef) == (1e-4, 1e-4, 1e-4)
        assert (preset.sampler.temperature, preset.sampler.pos_embed) == (1, "tokens")
        assert preset.mae.pos_embed == "sinusoid"
        assert (preset.mae.embed_dim, preset.mae.depth, preset.mae.decoder_depth) == (768, 12, 4)
    assert PRESETS["paper-ssv2"].mae_optim.epochs == 800
