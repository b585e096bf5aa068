"""Hard Patches Mining: the loss by enumeration, its gradient by hand, and masks from random to hard."""

import copy
import math

import pytest
import torch

from tats_gym.agents import find_agent
from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.peers.loss_predictor import (
    LossPredictor,
    LossPredictorConfig,
    LossPredictorPolicy,
    hardness_of,
    pairwise_loss,
)
from tats_gym.agents.policy import SamplerConfig
from tats_gym.agents.requirements import resolve_settings
from tats_gym.agents.rollout_buffer import TokenRolloutBuffer
from tats_gym.envs.spaces import Subset, TokenBox
from tats_gym.model.optim import MAEOptimConfig
from tests.runs import rows, tiny_config, train
from tests.toy import UNIFORM_ERROR, toy_env


def _by_enumeration(hardness, errors, counted):
    """The mean of -log P(right order) over all pairs of unequal errors, and the share of pairs in the right order."""
    losses, right = [], []
    for scores, truths, known in zip(hardness, errors, counted, strict=True):
        for i in range(len(scores)):
            for j in range(len(scores)):
                if known[i] and known[j] and truths[i] > truths[j]:
                    losses.append(-torch.log(1 / (1 + torch.exp(scores[j] - scores[i]))))
                    right.append(float(scores[i] > scores[j]))
    return torch.stack(losses).mean(), sum(right) / len(right)


def _numbers(seed=0):
    generator = torch.Generator().manual_seed(seed)
    hardness = torch.randn(3, 7, generator=generator)
    errors = torch.randint(4, (3, 7), generator=generator).float()  # some equal
    return hardness, errors, torch.rand(3, 7, generator=generator) > 0.2


def test_the_loss_over_all_pairs_is_the_enumerated_one():
    hardness, errors, counted = _numbers()
    loss, accuracy = pairwise_loss(hardness, errors, counted, pairs=6)
    expected, share = _by_enumeration(hardness, errors, counted)
    torch.testing.assert_close(loss, expected)
    assert accuracy.item() == pytest.approx(share)
    torch.testing.assert_close(pairwise_loss(hardness, errors, counted, pairs=64)[0], loss)


def test_the_loss_over_some_pairs_has_the_mean_of_that_over_all():
    torch.manual_seed(0)
    hardness, errors = torch.randn(4, 30), torch.rand(4, 30)
    counted = torch.ones(4, 30, dtype=torch.bool)
    found = torch.stack([pairwise_loss(hardness, errors, counted, pairs=3)[0] for _ in range(600)])
    expected, _ = _by_enumeration(hardness, errors, counted)
    assert found.mean().item() == pytest.approx(expected.item(), abs=4 * found.std().item() / math.sqrt(600))
    assert found.std() > 0


def test_a_right_order_has_no_loss_and_equal_errors_have_none():
    counted = torch.ones(1, 3, dtype=torch.bool)
    loss, accuracy = pairwise_loss(torch.tensor([[60.0, 0.0, 30.0]]), torch.tensor([[3.0, 1.0, 2.0]]), counted, 2)
    assert (loss.item(), accuracy.item()) == (pytest.approx(0.0, abs=1e-6), 1.0)
    assert [each.item() for each in pairwise_loss(torch.randn(1, 3), torch.ones(1, 3), counted, 2)] == [0.0, 0.0]
    assert [each.item() for each in pairwise_loss(torch.randn(1, 1), torch.ones(1, 1), counted[:, :1], 2)] == [0.0, 0.0]


def _policy(share, show="easy", num_visible=2):
    config = LossPredictorConfig(show=show, start=share)
    spaces = TokenBox((12, 64), (3, 2, 2)), Subset(12, num_visible)
    return LossPredictorPolicy(*spaces, lambda _: 1e-3, credit="token", config=config)


HARDNESS = torch.tensor([[3.0, 9, 1, 7, 5, 11, 2, 12, 8, 4, 10, 6]])


@pytest.mark.parametrize(
    ("show", "share", "hidden"),
    [
        ("easy", 0.0, set()),
        ("easy", 0.3, {7, 5, 10}),  # of ten hidden tokens three: 12, 11 and 10
        ("easy", 0.5, {7, 5, 10, 1, 8}),
        ("hard", 0.3, {2, 6, 0}),  # 1, 2 and 3
        ("hard", 1.0, set(range(12)) - {7, 5}),
    ],
)
def test_a_share_of_the_hidden_tokens_is_the_hardest_or_the_easiest_and_the_rest_random(show, share, hidden):
    output = _policy(share, show)._masks(HARDNESS.expand(3000, -1))
    torch.manual_seed(0)
    ids = output[0].sample()
    shown = torch.bincount(ids.flatten(), minlength=12) / len(ids)
    others = torch.tensor(sorted(set(range(12)) - hidden))
    torch.testing.assert_close(shown[others], torch.full((len(others),), 2 / len(others)), atol=0.05, rtol=0)
    assert {token for token in range(12) if shown[token] == 0} == hidden
    chances = output[0].token_log_prob.exp()[0]
    torch.testing.assert_close(chances[others], torch.full((len(others),), 1 / len(others)))
    assert (output[1] == 0).all()


def test_a_mask_of_another_size_hides_the_same_share_of_its_hidden_tokens():
    law, _ = _policy(0.5)._masks(HARDNESS)  # of ten hidden tokens five are excluded, of eight four, of four two
    for num_visible, excluded in ((2, {7, 5, 10, 1, 8}), (4, {7, 5, 10, 1}), (8, {7, 5})):
        shown = law.showing(num_visible).repeated(3)
        assert shown.sample().shape == (3, num_visible)
        assert [set(row.nonzero()[:, 0].tolist()) for row in shown.excluded] == 3 * [excluded]
        assert torch.equal(shown.hardness, HARDNESS.expand(3, -1))


def test_masks_of_a_clip_are_drawn_from_the_same_tokens():
    policy = _policy(1.0, "hard")
    policy.masks_per_clip = 3
    ids, *_ = policy.draw(policy._masks(torch.cat((HARDNESS, -HARDNESS))))
    assert [set(row) for row in ids.tolist()] == 3 * [{7, 5}] + 3 * [{2, 6}]


def test_outputs_of_several_steps_are_joined_in_their_order():
    policy = _policy(0.5)
    torch.nn.init.normal_(policy.head.weight)
    tokens = torch.randn(4, 12, 64)
    joined = policy.concatenated([policy.score(tokens[:1]), policy.score(tokens[1:])])
    whole = policy.score(tokens)
    torch.testing.assert_close(hardness_of(joined), hardness_of(whole))
    assert torch.equal(joined[0].excluded, whole[0].excluded)


def _agent(env, **settings):
    return LossPredictor(
        env, 1e-2, config=LossPredictorConfig(**settings), seed=0, device="cpu",
        policy_kwargs={"optimizer_class": torch.optim.SGD, "optimizer_kwargs": {}},
    )  # fmt: skip


def test_one_update_is_that_of_the_enumerated_loss(clips_root, monkeypatch):
    env = toy_env(clips_root, 4)
    agent = _agent(env, pairs=55)
    torch.nn.init.normal_(agent.policy.head.weight)
    by_hand, kept = copy.deepcopy(agent.policy), []
    keep = TokenRolloutBuffer.add_step
    monkeypatch.setattr(TokenRolloutBuffer, "add_step", lambda self, *step: (kept.append(step), keep(self, *step))[1])
    agent.learn(4)
    tokens, *_, outcome = kept[0]
    loss, _ = _by_enumeration(hardness_of(by_hand.score(tokens)), outcome.errors, outcome.predicted)
    loss.backward()
    moved = 0.0
    for (name, ours), (_, theirs) in zip(agent.policy.named_parameters(), by_hand.named_parameters(), strict=True):
        step = 1e-2 * theirs.grad
        torch.testing.assert_close(ours, theirs - step, atol=1e-6, rtol=1e-4, msg=name)
        moved = max(moved, step.abs().max().item())
    assert moved > 1e-5
    env.close()


@pytest.mark.parametrize(
    ("start", "end", "of_eight", "of_sixteen"),
    [(0.0, 0.5, [0.0, 0.25], [0.25, 0.375]), (0.8, 0.4, [0.8, 0.6], [0.6, 0.5])],
)
def test_masks_go_from_random_to_hard_over_the_training(clips_root, monkeypatch, start, end, of_eight, of_sixteen):
    env = toy_env(clips_root, 4)
    agent, seen = _agent(env, start=start, end=end), []
    reset = agent.rollout_buffer.reset
    monkeypatch.setattr(agent.rollout_buffer, "reset", lambda: (seen.append(agent.policy.share.item()), reset())[1])
    agent.learn(8)
    assert seen == pytest.approx(of_eight)
    seen.clear()
    agent.learn(8, reset_num_timesteps=False)  # to 16 masks: goes on at the half
    assert seen == pytest.approx(of_sixteen)
    env.close()


def test_hidden_hard_tokens_make_the_task_harder(clips_root):
    config = PretrainConfig(
        agent="loss_predictor", num_envs=16, device="cpu", epoch_masks=16 * 60, agent_settings={"end": 1.0},
        sampler=SamplerConfig(), mae_optim=MAEOptimConfig(epochs=1, warmup_epochs=0, base_lr=0.05, min_lr=0.05),
    )  # fmt: skip
    env = toy_env(clips_root)
    agent = find_agent("loss_predictor")(env, resolve_settings(config, find_agent("loss_predictor")))
    agent.learn(16 * 60)
    assert agent.logger.name_to_value["train/pair_accuracy"] > 0.95
    with torch.no_grad():
        outcome = env.vector_env.step_tensors(agent.policy(env.vector_env.observe())[0])
    assert -outcome.rewards.mean().item() > UNIFORM_ERROR + 0.05  # (16 * 2 + 40 * 0.2) / 56 with all hard ones hidden
    env.close()


def test_a_run_logs_the_order_and_no_state_of_logits(clips_root, tmp_path):
    _, result = train(tiny_config(clips_root, tmp_path, agent="loss_predictor"))
    logged = rows(result.folder)
    names = {name for row in logged for name in row}
    assert {"train/pair_accuracy", "train/mined_share", "held_out/gain", "sampler/updates"} <= names
    assert "sampler/logit_deviation" not in names  # tokens that a rule excludes would pass for a collapse
    shares = [row["train/mined_share"] for row in logged if "train/mined_share" in row]
    assert shares == pytest.approx([0.5 * step / 8 for step in range(8)])


@pytest.mark.parametrize("settings", [{"start": -0.1}, {"end": 1.1}, {"pairs": 0}])
def test_settings_out_of_range_are_refused(settings):
    ((name, value),) = settings.items()
    with pytest.raises(ValueError, match=f"{name} must .*, got {value}"):
        LossPredictorConfig(**settings)
