"""The number of visible tokens where it varies from step to step."""

from collections import Counter
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch

from tats_gym.agents.plackett_luce import PlackettLuce
from tats_gym.agents.training.pretraining import Pretraining
from tats_gym.envs.token_selection import TokenSelectionVectorEnv
from tats_gym.envs.visible_count import VisibleCount
from tats_gym.tokens import TokenGrid
from tests.layouts import SMALL
from tests.runs import rows, states_of_a_resume, tiny_config


def test_every_number_of_the_interval_is_drawn_equally_often_and_again():
    count = VisibleCount(TokenGrid(), 0.5)  # 78 of 1568
    drawn = Counter(count.at(7, position) for position in range(31, 32 * 8000, 32))
    assert sorted(drawn) == list(range(39, 118))
    expected = 7999 / 79
    chi_square = sum((times - expected) ** 2 / expected for times in drawn.values())
    assert 45 < chi_square < 121  # 99.9 % of chi-square with 78 degrees of freedom, on either side
    assert [count.at(7, 63), count.at(7, 95)] == [VisibleCount(TokenGrid(), 0.5).at(7, p) for p in (63, 95)]
    assert {count.at(seed, 63) for seed in range(40)} > {count.at(7, 63)}


def test_without_a_spread_and_for_named_clips_it_is_the_grids():
    assert {VisibleCount(TokenGrid(), 0.0).at(0, position) for position in range(100)} == {78}
    assert VisibleCount(TokenGrid(), 0.5).at(0, -1) == 78


@pytest.mark.parametrize(("visible", "spread"), [(5, 0.7), (1, 0.6)])
def test_an_interval_that_shows_all_tokens_or_none_is_refused(visible, spread):
    grid = TokenGrid(frames=4, size=32, visible=visible)  # 8 tokens
    with pytest.raises(ValueError, match=rf"visible_spread {spread} would show .* of 8 tokens.*lower it"):
        VisibleCount(grid, spread)


@pytest.mark.parametrize("action", ["ids", "scores"])
def test_a_step_shows_the_first_k_of_an_action(clips_root, action):
    settings = {**SMALL, "visible": 4, "visible_spread": 0.5, "action": action}
    env = gymnasium.make_vec("TatsMask-folder-v0", num_envs=3, root=str(clips_root), **settings)
    env.action_space.seed(0)
    _, infos = env.reset(seed=3)
    numbers = []
    for _ in range(8):
        pixels, (num_visible,) = env.unwrapped.clip_buffer.pixels, set(infos["num_visible"].tolist())
        actions = env.action_space.sample()
        assert actions.shape == (3, 6 if action == "ids" else 8)
        _, rewards, _, _, infos = env.step(actions)
        first = actions[:, :num_visible] if action == "ids" else np.argsort(-actions, axis=1)[:, :num_visible]
        by_hand = env.unwrapped.mae(pixels, torch.from_numpy(first)).errors.mean(1)
        np.testing.assert_allclose(rewards, -by_hand.detach().numpy(), rtol=1e-5)
        assert ((infos["final_info"]["errors"] > 0).sum(1) == 8 - num_visible).all()
        numbers.append(num_visible)
    assert set(numbers) <= {2, 3, 4, 5, 6}
    assert len(set(numbers)) > 2
    _, infos = env.reset(options={"clips": [0, 1, 2]})
    assert infos["num_visible"].tolist() == [4, 4, 4]
    env.close()


def test_gain_compares_with_random_masks_of_the_same_number(clips_root, monkeypatch):
    env = TokenSelectionVectorEnv(
        2, data="folder", root=str(clips_root), **{**SMALL, "visible": 4}, visible_spread=0.5, reward="gain"
    )
    env.reset(seed=3)
    shown, forward = [], env.mae.forward
    monkeypatch.setattr(
        env.mae, "forward", lambda pixels, ids, ratio: (shown.append(ids), forward(pixels, ids, ratio))[1]
    )
    for _ in range(5):
        num_visible = env.clip_buffer.num_visible
        env.step_tensors(torch.arange(6).expand(2, -1))
        assert [ids.shape for ids in shown] == [(2, num_visible)] * 2
        shown.clear()
    env.close()


def test_the_first_draws_of_a_longer_mask_are_distributed_as_a_shorter_mask():
    logits = torch.tensor([[0.0, 1.0, -1.0, 0.5]])
    torch.manual_seed(0)
    long = PlackettLuce(logits, 3).sample((40_000,))[:, 0, :2]
    short = PlackettLuce(logits, 3).showing(2)
    pairs = torch.tensor([[i, j] for i in range(4) for j in range(4) if i != j])
    share = (long[:, None] == pairs).all(-1).float().mean(0)
    torch.testing.assert_close(share, short.log_prob(pairs[:, None])[:, 0].sum(-1).exp(), atol=0.01, rtol=0)


def _config(root, out, **changes):
    config = tiny_config(root, out, visible_spread=0.5, **changes)
    return replace(config, grid=replace(config.grid, visible=4))


@pytest.mark.parametrize("agent", ["tats", "group", "adamae", "ppo", "random_ratio", "motion", "constant", "sac"])
def test_agents_train_measure_and_resume_with_it(clips_root, tmp_path, agent):
    folder, expected, state = states_of_a_resume(_config(clips_root, tmp_path, agent=agent))
    assert state["mae"].keys() == expected["mae"].keys()
    assert all(torch.equal(state["mae"][name], expected["mae"][name]) for name in expected["mae"])
    assert sum("held_out/gain" in row for row in rows(folder)) >= 3


def test_the_agent_of_random_ratios_needs_no_further_setting(clips_root, tmp_path):
    run = Pretraining(tiny_config(clips_root, tmp_path, agent="random_ratio"))
    run.close()
    assert run.config.visible_spread == 0.5
    plain = Pretraining(tiny_config(clips_root, tmp_path, agent="random"))
    plain.close()
    assert plain.config.visible_spread == 0.0


def test_a_rollout_of_several_steps_and_a_rule_for_some_numbers_alone_are_refused(clips_root, tmp_path):
    config = _config(clips_root, tmp_path)
    with pytest.raises(ValueError, match=r"visible_spread 0.5 needs one step a rollout.*got n_steps 2"):
        Pretraining(replace(config, tats=replace(config.tats, n_steps=2)))
    with pytest.raises(ValueError, match=r"visible must be a multiple of 2, got 3"):
        Pretraining(replace(config, agent="tube"))
