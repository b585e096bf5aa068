"""The differences that the sampler's networks can tell."""

import pytest
import torch

from tats_gym.agents.policy import SamplerConfig, TatsPolicy, Trunk, WithDifferences
from tats_gym.envs.spaces import Subset, TokenBox

GRID = (4, 3, 3)


def _policy(credit="position", **sampler):
    torch.manual_seed(0)
    spaces = TokenBox((36, 64), GRID), Subset(36, 7)
    policy = TatsPolicy(*spaces, lambda _: 1e-3, credit=credit, sampler=SamplerConfig(**sampler))
    torch.nn.init.normal_(policy.actor_head.weight)
    return policy


@pytest.mark.parametrize(("pos_embed", "apart"), [("tokens", False), ("learned", True)])
def test_tokens_of_one_content_are_told_apart_by_learned_positions(pos_embed, apart):
    logits = _policy(pos_embed=pos_embed).get_distribution(torch.ones(2, 36, 64)).distribution.logits
    assert (logits.std(1) > 0.1).all() == apart
    assert (logits.std(1) < 1e-4).all() != apart


def test_learned_positions_count_at_any_scale_of_the_content():
    policy = _policy(pos_embed="learned")
    tokens = torch.randn(2, 36, 64)
    one, other = (policy.get_distribution(scale * tokens).distribution.logits for scale in (1, 1000))
    torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


def test_unknown_positions_are_refused():
    with pytest.raises(ValueError, match="pos_embed must be one of tokens, learned; got 'sincos'"):
        SamplerConfig(pos_embed="sincos")


def test_a_sampler_narrower_than_a_head_has_one_head_of_its_width():
    tokens, space = torch.randn(2, 8, 48), (TokenBox((8, 48), (2, 2, 2)), Subset(8, 3))
    narrow, own = (
        TatsPolicy(*space, lambda _: 1e-3, sampler=each) for each in (SamplerConfig(), SamplerConfig(head_dim=48))
    )
    own.load_state_dict(narrow.state_dict())
    for policy in (narrow, own):
        torch.manual_seed(1)
        torch.nn.init.normal_(policy.actor_head.weight)
    logits = [policy.get_distribution(tokens).distribution.logits for policy in (narrow, own)]
    assert torch.equal(*logits)
    assert logits[0].std() > 0.1
    with pytest.raises(ValueError, match="head_dim must divide the sampler's width, got 64 and 96"):
        TatsPolicy(*space, lambda _: 1e-3, sampler=SamplerConfig(width=96))


@pytest.mark.parametrize("critic", ["separate", "pooled", "shared"])
@pytest.mark.parametrize("depth", [1, 2])
def test_every_critic_learns_the_worth_of_clips(critic, depth):
    """A value is the mean of one feature over the tokens: the attention's addition may not be in the way."""
    policy = _policy(critic=critic, depth=depth)
    tokens = torch.randn(16, 36, 64) + 2 * torch.randn(16, 1, 64)
    worth = tokens[:, :, 0].mean(1, keepdim=True)
    optimizer = torch.optim.Adam(policy.parameters(), lr=3e-3)
    for _ in range(150):
        loss = (policy.predict_values(tokens) - worth).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1 * worth.var()


def test_a_pooled_critic_draws_the_same_masks_as_a_separate_one():
    tokens = torch.randn(2, 36, 64)
    separate, pooled = (_policy(critic=critic) for critic in ("separate", "pooled"))
    assert pooled.predict_values(tokens).shape == (2, 1)
    pooled.load_state_dict(separate.state_dict())
    masks = [policy.get_distribution(tokens).distribution.logits for policy in (separate, pooled)]
    assert torch.equal(*masks)


@pytest.mark.parametrize("frames", [4, 10])
def test_values_of_a_distribution_can_be_differentiated_twice(frames):
    """Hessian times vector against differences of the gradient, in float64; ten frames are more than go at once."""
    torch.manual_seed(0)
    policy = TatsPolicy(TokenBox((4 * frames, 64), (frames, 2, 2)), Subset(4 * frames, 3), lambda _: 1e-3).double()
    torch.nn.init.normal_(policy.actor_head.weight)
    tokens, worth = torch.randn(2, 4 * frames, 64).double(), torch.randn(2, 4 * frames).double()
    parameters = [*policy.actor.parameters(), *policy.actor_head.parameters()]
    direction = [torch.randn_like(parameter) for parameter in parameters]

    def gradient(**graph):
        total = (policy.get_distribution(tokens).distribution.token_log_prob * worth).sum()
        return torch.autograd.grad(total, parameters, **graph)

    product = torch.autograd.grad(gradient(create_graph=True), parameters, direction)
    step, sides = 1e-5, []
    for sign in (1, -2, 1):  # there, to the other side, and back
        for parameter, part in zip(parameters, direction, strict=True):
            parameter.data += sign * step * part
        sides.append(gradient())
    for found, above, below in zip(product, sides[0], sides[1], strict=True):
        torch.testing.assert_close(found, (above - below) / (2 * step), atol=1e-5, rtol=1e-5)
    assert max(each.abs().max() for each in product) > 0.1


def test_without_gradients_matrices_shrink_by_their_decay_and_vectors_stay():
    """AdamW: w (1 - lr * decay). Vectors here, by name: biases, and the weights of norms."""
    policy = _policy(critic="pooled", mlp_ratio=2.0, pos_embed="learned")
    policy.optimizer_kwargs = {"weight_decay": 0.05}
    policy.make_optimizer(lambda _: 0.1)
    before = {name: parameter.detach().clone() for name, parameter in policy.named_parameters()}
    for parameter in policy.parameters():
        parameter.grad = torch.zeros_like(parameter)
    policy.optimizer.step()
    vectors = set()
    for name, parameter in policy.named_parameters():
        stays = name.endswith("bias") or "norm" in name
        torch.testing.assert_close(parameter.detach(), before[name] * (1 if stays else 1 - 0.1 * 0.05), msg=name)
        vectors |= {name} if stays else set()
    assert 0 < len(vectors) < len(before)


def test_moments_of_an_optimiser_of_one_group_find_their_parameters():
    """As checkpoints hold them that were written before biases were kept from decaying."""
    policy = _policy(mlp_ratio=2.0)
    one_group = torch.optim.AdamW(policy.parameters(), lr=0.5, weight_decay=0.05)
    for number, parameter in enumerate(policy.parameters(), start=1):
        parameter.grad = torch.full_like(parameter, number)
    one_group.step()
    policy.optimizer.load_state_dict(one_group.state_dict())
    for number, parameter in enumerate(policy.parameters(), start=1):
        moment = policy.optimizer.state[parameter]["exp_avg"]
        torch.testing.assert_close(moment, torch.full_like(parameter, 0.1 * number))
    assert [group["weight_decay"] for group in policy.optimizer.param_groups] == [0.01, 0.0]
    assert [group["lr"] for group in policy.optimizer.param_groups] == [0.5, 0.5]


def test_a_value_for_each_token_comes_from_networks_that_keep_the_tokens():
    for critic in ("separate", "shared"):
        policy = _policy(credit="marginal", critic=critic)
        assert policy.score(torch.randn(2, 36, 64))[1].shape == (2, 36)
    _, values, log_prob = _policy(credit="marginal", critic="none")(torch.randn(2, 36, 64))
    assert values.shape == (2, 36)
    assert not values.any()
    assert log_prob.shape == (2, policy.num_visible)
    with pytest.raises(ValueError, match=r"critic must be 'separate', 'shared' or 'none', got 'pooled'.*critic shared"):
        _policy(credit="marginal", critic="pooled")


def test_differences_of_frames_by_hand():
    tokens = torch.tensor([1.0, 10.0, 4.0, 20.0, 9.0, 20.0]).reshape(1, 6, 1)  # three frames of two places
    seen = WithDifferences(3)(tokens)
    before, after = [0, 0, 3, 10, 5, 0], [-3, -10, -5, 0, 0, 0]
    assert seen[0].T.tolist() == [tokens.flatten().tolist(), before, after]


def test_a_sampler_that_sees_differences_scores_still_and_moving_tokens_apart():
    moving = torch.zeros(1, 36, 64)
    moving[0, 13] = 1.0  # a token that is new in its frame, and gone in the next
    logits = _policy(differences=True, width=64).get_distribution(moving).distribution.logits
    assert logits.shape == (1, 36)
    assert logits.std() > 0


def test_the_deviation_of_learned_positions_is_as_set():
    trunk = Trunk(SamplerConfig(pos_embed="learned", pos_embed_std=0.1), 64, (8, 14, 14))
    assert trunk.place.positions.place.std().item() == pytest.approx(0.1, rel=0.05)
    with pytest.raises(ValueError, match="pos_embed_std must be positive, got 0"):
        SamplerConfig(pos_embed_std=0)


def test_settings_that_make_no_sampler_are_refused():
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        SamplerConfig(temperature=0)
    with pytest.raises(ValueError, match="critic must be"):
        SamplerConfig(critic="shraed")
