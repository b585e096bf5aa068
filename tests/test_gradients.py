"""Gradients against finite differences in float64: the distribution, the attention, the MAE, and the credit."""

import copy
import statistics
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call
from torch.nn import functional as F

from tats_gym.agents.peers.adamae import AdaMAE, AdaMAEConfig
from tats_gym.agents.plackett_luce import PlackettLuce
from tats_gym.agents.policy import SamplerConfig
from tats_gym.agents.rollout_buffer import TokenRolloutBuffer
from tats_gym.agents.tats import TATS, TatsConfig
from tats_gym.agents.trajectory_attention import TrajectoryAttention
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.envs.token_selection import TokenSelectionVectorEnv
from tats_gym.masks import random_ids
from tats_gym.model.videomae import MAEConfig, MaskedAutoencoder
from tats_gym.tokens import TokenGrid
from tests.test_properties import SAME, SEEDS

FEW = settings(SAME, max_examples=8)
GRID = {"frames": 4, "size": 32, "visible": 3}
"""2 x 2 x 2 tokens."""


@pytest.fixture(name="float64")
def _in_float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def _slope(function, parameters, directions, step):
    """Central difference of a function of parameters along directions, which are then as they were."""
    values = []
    with torch.no_grad():
        for sign in (1, -2, 1):
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter += sign * step * direction
            values.append(float(function()))
    return (values[0] - values[1]) / (2 * step)


def _check_gradients(function, parameters, gradients, seed, step=1e-5):
    """Compare slopes along random directions, in all parameters at once and in each by itself."""
    generator = torch.Generator().manual_seed(seed)
    directions = [torch.randn(each.shape, dtype=each.dtype, generator=generator) for each in parameters]
    slopes = [float((g * d).sum()) for g, d in zip(gradients, directions, strict=True)]
    assert sum(map(abs, slopes)) > 0
    assert _slope(function, parameters, directions, step) == pytest.approx(sum(slopes), rel=1e-5, abs=1e-8)
    for parameter, direction, slope in zip(parameters, directions, slopes, strict=True):
        assert _slope(function, [parameter], [direction], step) == pytest.approx(slope, rel=1e-5, abs=1e-8)


@settings(SAME, max_examples=20)
@given(st.lists(st.floats(-12, 12), min_size=2, max_size=6), st.data())
def test_gradients_of_log_probabilities_and_entropies(logits, data):
    num_visible = data.draw(st.integers(1, len(logits) - 1))
    draw = torch.tensor([data.draw(st.permutations(range(len(logits))))[:num_visible]])
    logits = torch.tensor([logits], dtype=torch.float64, requires_grad=True)
    for quantity in (
        lambda distribution: distribution.log_prob(draw),
        lambda distribution: distribution.token_log_prob,
        lambda distribution: distribution.entropy(),
        lambda distribution: distribution.entropy_along(draw),
    ):
        assert torch.autograd.gradcheck(lambda z, quantity=quantity: quantity(PlackettLuce(z, num_visible)), logits)


@FEW
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), st.booleans(), st.booleans(), SEEDS)
def test_gradients_of_trajectory_attention(frames, space, heads, pool, streams, seed):
    torch.manual_seed(seed)
    module = TrajectoryAttention(2 * heads, heads, frames, pool=pool).double()
    module.streams = streams
    names, parameters = zip(*module.named_parameters(), strict=True)
    x = torch.randn(1, frames * space, 2 * heads, dtype=torch.float64, requires_grad=True)
    norm = torch.nn.LayerNorm(2 * heads).double()
    torch.nn.init.normal_(norm.weight)
    assert torch.autograd.gradcheck(
        lambda x, *values: functional_call(module, dict(zip(names, values, strict=True)), (x, norm)), (x, *parameters)
    )


@pytest.mark.parametrize("config", [{}, {"pos_embed": "learned"}])
@settings(SAME, max_examples=3)
@given(SEEDS)
def test_gradients_of_the_maes_loss(config, seed):
    torch.manual_seed(seed)
    grid = TokenGrid(**GRID)
    sizes = {"embed_dim": 8, "depth": 1, "num_heads": 2}
    decoder = {"decoder_embed_dim": 4, "decoder_depth": 1, "decoder_num_heads": 2}
    mae = MaskedAutoencoder(MAEConfig(**sizes, **decoder, **config), grid).double()
    clips = torch.randint(0, 256, (2, *grid.clip_shape), dtype=torch.uint8)
    ids = random_ids(4, 8, 3)  # two masks of each clip

    def loss():
        return mae(clips, ids).errors.mean()

    parameters = [each for each in mae.parameters() if each.requires_grad]
    gradients = torch.autograd.grad(loss(), parameters)
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    _check_gradients(loss, parameters, gradients, seed, step=1e-6)  # curved: at 1e-5 some slopes are off by 3e-5


# --- The objectives of the samplers: the effect of an update, against the documentation's words ----------------------

C1, C2, C3 = 0.5, 0.25, 0.125


def _objective(policy, kept, *, credit, baseline, c1, c2, c3):
    """The loss at a ratio of 1, number by number: its gradient is the update's."""
    tokens, ids, old_values, outcome = kept
    distribution, values = policy.score(tokens)
    groups, total = len(ids) // len(tokens), 0.0
    for b in range(len(ids)):
        log_p = F.log_softmax(distribution.logits[b // groups], 0).tolist()
        hidden = [i for i, is_hidden in enumerate(outcome.predicted[b].tolist()) if is_hidden]
        mean_error = sum(outcome.errors[b, i].item() for i in hidden) / len(hidden)
        target = mean_error if credit == "token" else outcome.rewards[b].item()
        subtracted = old_values[b].item() if baseline == "value" else 0.0
        scale = 1.0
        if "grpo" in baseline:
            rewards = outcome.rewards[b // groups * groups : b // groups * groups + groups].tolist()
            subtracted = statistics.mean(rewards)
            scale = statistics.stdev(rewards) + 1e-8 if baseline == "grpo" else 1.0
        if baseline == "group":
            others = [c for c in range(b // groups * groups, b // groups * groups + groups) if c != b]
            of_others = outcome.rewards if credit != "token" else outcome.errors.sum(1) / len(hidden)
            subtracted = sum(of_others[c].item() for c in others) / len(others)
        if credit == "token":
            policy_term = sum((outcome.errors[b, i].item() - subtracted) * log_p[i] for i in hidden) / len(hidden)
        else:
            left, draws = set(range(len(log_p))), []
            for token in ids[b].tolist():
                draws.append(log_p[token] - torch.tensor([log_p[j] for j in left]).logsumexp(0).item())
                left.remove(token)
            policy_term = (target - subtracted) / scale * sum(draws) / (1 if credit == "joint" else len(draws))
        value_error = (values[b // groups].item() - target) ** 2
        entropy = -sum(torch.tensor(each).exp().item() * each for each in log_p)
        total += -c1 * policy_term + c2 * value_error - c3 * entropy
    return total / len(ids)


def _marginal_objective(policy, kept, *, baseline, c1, c2, c3):
    """The same with credit "marginal", of a draw and its place at all times."""
    tokens, ids, old_values, outcome = kept
    distribution, values = policy.score(tokens)
    num_masks, num_tokens = outcome.errors.shape
    groups, places = num_masks // len(tokens), num_tokens // TokenGrid(**GRID).shape[0]
    errors, hidden, total, value_errors = outcome.errors.tolist(), outcome.predicted.tolist(), 0.0, []
    for b in range(num_masks):
        others = [c for c in range(b // groups * groups, b // groups * groups + groups) if c != b]
        of_others = [[errors[c][i] for c in others if hidden[c][i]] for i in range(num_tokens)]
        all_of_others = [error for each in of_others for error in each]
        expected = {
            "value": lambda i, b=b: old_values[b, i].item(),
            "none": lambda _: 0.0,
            "group": lambda i, own=of_others, every=all_of_others: statistics.mean(own[i] or every),
        }[baseline]
        log_p, drawn = F.log_softmax(distribution.logits[b // groups], 0).tolist(), ids[b].tolist()
        mean_expected = statistics.mean(expected(i) for i in range(num_tokens))
        for k, token in enumerate(drawn):
            left = [i for i in range(num_tokens) if i not in drawn[:k]]
            credit = sum(expected(i) - errors[b][i] for i in left if i % places == token % places)
            advantage = (credit - mean_expected) / sum(hidden[b])
            log_prob = log_p[token] - torch.tensor([log_p[i] for i in left]).logsumexp(0).item()
            total -= c1 * advantage * log_prob / len(drawn)
        total += c3 * sum(torch.tensor(each).exp().item() * each for each in log_p)
        value_errors += [(values[b // groups, i].item() - errors[b][i]) ** 2 for i in range(num_tokens) if hidden[b][i]]
    return total / num_masks + c2 * statistics.mean(value_errors)


def _update(agent, clips_root, monkeypatch, masks_per_clip=1):
    """Return the agent after one update, the policy before, its rollout, and the gradients that it stepped along."""
    kept = []
    keep = TokenRolloutBuffer.add_step

    def remember(self, tokens, ids, values, log_prob, outcome):
        kept.append((tokens, ids, values.squeeze(1), outcome))
        keep(self, tokens, ids, values, log_prob, outcome)

    monkeypatch.setattr(TokenRolloutBuffer, "add_step", remember)
    vector_env = TokenSelectionVectorEnv(
        4, data="folder", root=str(clips_root), stride=1, num_workers=0, device="cpu", precision="fp32",
        masks_per_clip=masks_per_clip, **GRID,
    )  # fmt: skip
    torch.manual_seed(0)
    small = {"embed_dim": 16, "num_heads": 2, "depth": 1, "decoder_embed_dim": 8, "decoder_depth": 1}
    vector_env.attach(MaskedAutoencoder(MAEConfig(**small, decoder_num_heads=2), TokenGrid(**GRID)))
    learner = agent(TokenSelectionVecEnv(vector_env))
    with torch.no_grad():
        for parameter in learner.policy.parameters():
            parameter += 0.3 * torch.randn_like(parameter)  # away from uniform
    before, gradients = copy.deepcopy(learner.policy), []
    learner.policy.optimizer.register_step_pre_hook(
        lambda *_: gradients.extend(parameter.grad.clone() for parameter in learner.policy.parameters())
    )
    learner.learn(4)
    vector_env.close()
    return before, kept[0], gradients


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("credit", "baseline"),
    [
        *product(["token", "draw", "position", "joint", "marginal"], ["value", "none", "group"]),
        *product(["draw", "joint"], ["dr_grpo", "grpo"]),
    ],
)
def test_gradients_of_the_credit_of_tats(clips_root, monkeypatch, credit, baseline):
    group = 1 if baseline in ("value", "none") else 2
    sampler = SamplerConfig(head_dim=8, critic="separate")
    policy, kept, gradients = _update(
        lambda env: TATS(
            "TatsPolicy", env,
            TatsConfig(credit=credit, policy_coef=C1, vf_coef=C2, ent_coef=C3, learning_rate=1e-3),
            baseline=baseline, masks_per_clip=group, seed=0, device="cpu", policy_kwargs={"sampler": sampler},
        ),
        clips_root, monkeypatch, group,
    )  # fmt: skip
    assert [each.dtype for each in gradients] == [torch.float64] * len(gradients)

    def objective():
        if credit == "marginal":
            return _marginal_objective(policy, kept, baseline=baseline, c1=C1, c2=C2, c3=C3)
        return _objective(policy, kept, credit=credit, baseline=baseline, c1=C1, c2=C2, c3=C3)

    _check_gradients(objective, list(policy.parameters()), gradients, seed=0)


@pytest.mark.usefixtures("float64")
def test_gradients_of_the_loss_of_adamae(clips_root, monkeypatch):
    monkeypatch.setattr(torch.nn.Dropout, "forward", lambda self, x: x)
    policy, kept, gradients = _update(
        lambda env: AdaMAE(env, config=AdaMAEConfig(coef=C1), seed=0, device="cpu", policy_kwargs={"sinusoidal": True}),
        clips_root,
        monkeypatch,
    )

    def objective():
        return _objective(policy, kept, credit="token", baseline="none", c1=C1, c2=0, c3=0)

    _check_gradients(objective, list(policy.parameters()), gradients, seed=0)
