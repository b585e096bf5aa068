"""Masks by expected errors: their estimate, their proportions, and the MAE under which they are made."""

from dataclasses import replace

import pytest
import torch

from tats_gym.agents import find_agent
from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.experiments.trials.trial import Trial, run_trial
from tats_gym.agents.peers.expected_errors import ExpectedErrorPolicy
from tats_gym.envs.spaces import Subset, TokenBox
from tats_gym.model.errors import errors_under, expected_errors
from tats_gym.model.videomae import MAEConfig, MaskedAutoencoder
from tats_gym.tokens import TokenGrid
from tests.runs import tiny_config
from tests.toy import GRID, ToyMAE, toy_env


class _LateMAE(ToyMAE):
    """Errs by 2 in the last of four tubelets, whatever the clip, and not at all before."""

    def hardness(self, clips):
        return 2.0 * (torch.arange(64) >= 48).expand(len(clips), -1)


def _agent(root):
    env = toy_env(root)
    config = PretrainConfig(num_envs=16, device="cpu")
    agent = find_agent("expected_error")(env, config)
    env.reset()
    return agent, env.vector_env


def _hard_draws(weight, draws=8, hard=16, easy=48):
    """The expected hard tokens among draws without replacement, each with `weight` times an easy one's probability."""
    chances = {0: 1.0}  # number of hard tokens drawn to its probability
    for drawn in range(draws):
        following = dict.fromkeys(range(drawn + 2), 0.0)
        for found, chance in chances.items():
            left = (hard - found) * weight, easy - (drawn - found)
            following[found + 1] += chance * left[0] / sum(left)
            following[found] += chance * left[1] / sum(left)
        chances = following
    return sum(found * chance for found, chance in chances.items())


def test_a_token_has_its_mean_error_over_the_masks_that_hide_it():
    clips = torch.zeros(1, 3, 8, 64, 64, dtype=torch.uint8)  # tokens 0, 4, 8, ... are hard
    masks = torch.stack([torch.arange(8), torch.arange(1, 9)])[:, None]  # (S, B, K)
    means, by_token = errors_under(ToyMAE(), clips, masks)
    torch.testing.assert_close(means[:, 0], torch.tensor([14 * 2 + 42 * 0.2, 14 * 2 + 42 * 0.2]) / 56)
    assert by_token[0].isnan().tolist() == [False] + 7 * [True] + 56 * [False]
    torch.testing.assert_close(by_token[0, [0, 8, 9]], torch.tensor([2.0, 2.0, 0.2]))
    mean = (15 * 2 + 42 * 0.2) / 57  # token 4 is hard, but always shown
    torch.testing.assert_close(expected_errors(by_token)[0, 1:8], torch.full((7,), mean))


def test_a_token_that_no_mask_predicts_has_the_mean_of_its_clip():
    nothing = float("nan")
    by_token = torch.tensor([[1.0, nothing, 3.0], [10.0, 20.0, nothing]])
    assert expected_errors(by_token).tolist() == [[1.0, 2.0, 3.0], [10.0, 20.0, 15.0]]


def test_errors_are_those_of_the_tokens_that_are_decoded():
    small = {"embed_dim": 16, "depth": 1, "num_heads": 2, "decoder_embed_dim": 16, "decoder_depth": 1}
    mae = MaskedAutoencoder(MAEConfig(**small, decoder_num_heads=2), TokenGrid(**GRID))
    clips = torch.randint(256, (2, 3, 8, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        _, by_token = errors_under(mae, clips, torch.arange(8).expand(1, 2, 8), decode_ratio=0.5)
    assert by_token.isfinite().sum(1).tolist() == [28, 28]  # half of 56


def test_tokens_are_drawn_in_proportion_to_error_and_mean_error(clips_root):
    agent, env = _agent(clips_root)
    pixels = env.clip_buffer.pixels
    hard = env.mae.hardness(pixels) > 1
    torch.manual_seed(0)
    drawn = torch.cat([hard.gather(1, agent.rule_ids(env)).sum(1) for _ in range(40)]).double()  # of 640 masks
    mean = (16 * 2 + 48 * 0.2) / 64
    assert drawn.mean().item() == pytest.approx(_hard_draws((2 + mean) / (0.2 + mean)), abs=0.2)
    assert _hard_draws(1.0) == pytest.approx(2)


def test_the_environments_present_mae_decides(clips_root):
    agent, env = _agent(clips_root)
    env.attach(_LateMAE())
    torch.manual_seed(0)
    late = torch.cat([(agent.rule_ids(env) >= 48).sum(1) for _ in range(40)]).double()
    assert late.mean().item() == pytest.approx(_hard_draws((2 + 0.5) / 0.5), abs=0.2)


def test_without_an_mae_the_policy_says_how_to_be_built():
    policy = ExpectedErrorPolicy(TokenBox((64, 8), (4, 4, 4)), Subset(64, 8))
    with pytest.raises(ValueError, match=r"need an MAE: build the agent with find_agent\('expected_error'\)"):
        policy.ids_keep(torch.zeros(2, 3, 8, 64, 64, dtype=torch.uint8), 8)


def test_the_forwards_of_the_estimate_are_counted(clips_root, tmp_path):
    config = replace(tiny_config(clips_root, tmp_path), agent="expected_error")
    row = run_trial(Trial(config, tmp_path / "trial"))
    assert (row["steps"], row["mae_steps"], row["extra_forwards"]) == (32, 8, 4 * 32)
