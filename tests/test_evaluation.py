"""The measure of a sampler."""

import math
from dataclasses import replace

import pytest
import torch
from scipy import stats
from stable_baselines3.common.policies import BasePolicy

from tats_gym.agents import SamplerConfig, TatsPolicy
from tats_gym.agents.peers.fixed import MotionPolicy, RandomPolicy
from tats_gym.agents.training.measures import evaluation
from tats_gym.agents.training.measures.evaluation import HeldOut, held_out_for
from tats_gym.agents.training.predict import choose
from tats_gym.clips import VideoReadError
from tats_gym.envs.rewards import REWARDS, Reward
from tats_gym.envs.spaces import Subset, TokenBox
from tats_gym.model.videomae import MAEConfig, MaskedAutoencoder
from tats_gym.tokens import TokenGrid
from tests.runs import tiny_config
from tests.toy import BEST_ERROR, GRID, UNIFORM_ERROR, WIDTH, NoiseStream, ToyMAE

BOX, SUBSET = TokenBox((64, WIDTH), (4, 4, 4)), Subset(64, GRID["visible"])
CLIPS = torch.zeros(2, 3, 8, 64, 64, dtype=torch.uint8)


def _measure_of(stream, num_clips, mae=None, num_masks=1, seed=0, reward="neg_error"):
    return HeldOut(
        stream, mae or ToyMAE(), num_clips=num_clips, num_masks=num_masks, num_visible=8, batch_size=16, seed=seed,
        reward=reward, precision="fp32",
    )  # fmt: skip


@pytest.fixture(name="held_out")
def _held_out():
    return _measure_of(NoiseStream(), 48, num_masks=2)


def test_another_video_takes_the_place_of_a_held_out_one_that_cannot_be_read(caplog):
    stream = NoiseStream()
    assert _measure_of(stream, 3).ids == [0, 32, 63]
    stream.broken_ids = (0, 63)
    held_out = _measure_of(stream, 3)
    assert held_out.ids == [32, 1, 31]  # the first of the others, and the one in their middle
    assert len(held_out.clips) == 3
    assert caplog.text.count("left out: ") == 2


def test_where_there_is_no_other_there_are_fewer_held_out_clips(caplog):
    stream = NoiseStream()
    stream.broken_ids = (0, 63)
    assert _measure_of(stream, 64).ids == list(range(1, 63))
    assert caplog.text.count("left out: ") == 2
    stream.broken_ids = range(64)
    with pytest.raises(VideoReadError, match="none of the 6 held-out videos that were tried could be read; mend or"):
        _measure_of(stream, 3)


class _Knowing(BasePolicy):
    """Knows the toy's hard tokens: those whose embedding is the first direction."""

    def _predict(self, observation, deterministic=False):
        hard = observation @ ToyMAE().directions[0]
        return hard.topk(8, dim=1).indices


def test_the_best_masks_score_the_best_error(held_out):
    scores, state = held_out.measure(_Knowing(BOX, SUBSET))
    assert state is None
    assert scores.error_own == pytest.approx(BEST_ERROR, abs=1e-5)
    assert scores.error_random == pytest.approx(UNIFORM_ERROR, abs=0.02)
    assert scores.gain == pytest.approx(scores.error_random - scores.error_own, abs=1e-5)
    assert 0 < scores.gain_interval < scores.gain


def test_masks_that_fit_their_clips_are_worth_less_on_others(held_out):
    fitting, _ = held_out.measure(_Knowing(BOX, SUBSET))
    # A stranger's mask hits hard tokens one time in four: its error is the uniform one, give or take.
    assert fitting.content_gain == pytest.approx(fitting.error_random - BEST_ERROR, abs=0.1)
    assert fitting.content_gain > 0.1


class _Still(BasePolicy):
    """Shows the same tokens always."""

    def _predict(self, observation, deterministic=False):
        return torch.arange(8).expand(len(observation), -1)


def test_a_mask_that_never_moves_is_told_from_one_that_fits(held_out):
    still, _ = held_out.measure(_Still(BOX, SUBSET))
    assert still.overlap == pytest.approx(1)
    assert still.content_gain == pytest.approx(0, abs=1e-6)


def test_uniform_masks_overlap_by_chance(held_out):
    scores, _ = held_out.measure(RandomPolicy(BOX, SUBSET))
    assert scores.overlap == pytest.approx(8 / 64, abs=0.01)
    assert scores.motion_lift == pytest.approx(1, abs=0.1)
    assert abs(scores.content_gain) < 0.05
    # 16 tokens err by 2 and 48 by .2: the mean is .65, the deviation 1.8 * sqrt(1/4 * 3/4 * 64/63).
    assert scores.error_deviation == pytest.approx(0.7856, abs=5e-3)


def test_random_masks_have_no_gain_within_the_interval(held_out):
    scores, _ = held_out.measure(RandomPolicy(BOX, SUBSET))
    assert abs(scores.gain) < 2 * scores.gain_interval


@pytest.mark.parametrize("num_clips", [2, 3, 48])
def test_intervals_are_students_over_clips(num_clips):
    held_out = _measure_of(NoiseStream(), num_clips)
    policy = _Knowing(BOX, SUBSET)
    scores, _ = held_out.measure(policy)
    chosen = held_out.ids_keep(policy)
    own, random, others = (
        held_out.errors(ids)[0] for ids in (chosen, held_out.random_ids_keep, chosen.roll(1, dims=1))
    )
    assert scores.num_clips == num_clips
    for other, mean, half in (
        (random, scores.gain, scores.gain_interval),
        (others, scores.content_gain, scores.content_gain_interval),
    ):
        gains = (other - own).double().numpy()
        low, high = stats.t.interval(0.95, num_clips - 1, loc=gains.mean(), scale=stats.sem(gains))
        assert (mean - half, mean + half) == pytest.approx((low, high), abs=1e-6)
    assert scores.gain_interval > 0


def test_one_clip_has_no_interval():
    scores, _ = _measure_of(NoiseStream(), 1).measure(_Knowing(BOX, SUBSET))
    assert scores.num_clips == 1
    assert math.isnan(scores.gain_interval)
    assert math.isnan(scores.content_gain_interval)


@pytest.mark.parametrize(("tubelet_size", "moves"), [(8, False), (4, True)])
def test_a_grid_of_a_single_tubelet_has_no_motion(tubelet_size, moves):
    mae = ToyMAE()
    mae.grid = TokenGrid(**GRID, tubelet_size=tubelet_size)
    scores, _ = _measure_of(NoiseStream(), 4, mae).measure(
        RandomPolicy(TokenBox((mae.grid.num_tokens, WIDTH), mae.grid.shape), Subset(mae.grid.num_tokens, 8))
    )
    assert math.isnan(scores.motion_lift) != moves


def test_the_random_masks_are_those_of_the_seed():
    one, again, other = (_measure_of(NoiseStream(), 4, seed=seed).random_ids_keep for seed in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_the_agents_draws_are_those_of_the_seed_after_that_of_the_random_masks():
    class Drawing(BasePolicy):
        def _predict(self, observation, deterministic=False):
            return torch.rand(len(observation), 64).topk(8, dim=1).indices

    held_out = _measure_of(NoiseStream(), 4, num_masks=2, seed=7)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        by_hand = torch.stack([torch.rand(4, 64).topk(8, dim=1).indices for _ in range(2)])
    assert torch.equal(held_out.ids_keep(Drawing(BOX, SUBSET)), by_hand)


@pytest.mark.parametrize("credit", ["token", "marginal", "position", "joint"])
def test_the_value_is_compared_with_the_mean_error_or_the_reward_of_the_first_mask(credit):
    held_out = _measure_of(NoiseStream(), 48, num_masks=2, reward="gain")
    policy = TatsPolicy(BOX, SUBSET, lambda _: 1e-3, credit=credit, sampler=SamplerConfig(critic="separate"))
    own, random = (held_out.errors(ids)[0] for ids in (held_out.ids_keep(policy), held_out.random_ids_keep))
    target = own if credit in ("token", "marginal") else random - own  # the value is 0: it is not trained
    error = held_out.measure(policy)[1].value_error
    assert error == pytest.approx(target.square().mean().sqrt().item(), rel=1e-5)


def test_the_value_is_compared_with_a_reward_that_is_no_mean(monkeypatch):
    monkeypatch.setitem(REWARDS, "neg_worst", Reward(lambda errors: -errors.amax(1)))
    held_out = _measure_of(NoiseStream(), 8, reward="neg_worst")
    policy = TatsPolicy(BOX, SUBSET, lambda _: 1e-3, credit="joint", sampler=SamplerConfig(critic="separate"))
    # The value is 0, and one of the 16 hard tokens, which err by 2, is always among the hidden ones.
    assert held_out.measure(policy)[1].value_error == pytest.approx(2.0, rel=1e-5)


def test_errors_are_those_of_the_tokens_that_are_decoded():
    small = {"embed_dim": 16, "depth": 1, "num_heads": 2, "decoder_embed_dim": 16, "decoder_depth": 1}
    mae = MaskedAutoencoder(MAEConfig(**small, decoder_num_heads=2), TokenGrid(**GRID))
    held_out = _measure_of(NoiseStream(), 3, mae)
    for ratio, count in (((), 56), ((0.5,), 28)):  # of 64 tokens 8 are shown
        errors, by_token = held_out.errors_by_token(held_out.random_ids_keep, *ratio)
        assert by_token.isfinite().sum(1).tolist() == 3 * [count]
        torch.testing.assert_close(held_out.errors(held_out.random_ids_keep, *ratio), by_token.nanmean(1)[None])
        torch.testing.assert_close(errors[0], by_token.nanmean(1))


def test_measuring_changes_no_random_state_and_repeats(held_out):
    policy = TatsPolicy(BOX, SUBSET, lambda _: 1e-3)
    before = torch.get_rng_state()
    one, two = held_out.measure(policy), held_out.measure(policy)
    assert torch.equal(before, torch.get_rng_state())
    assert one == two


def test_the_state_of_an_untrained_sampler_is_uniform(held_out):
    policy = TatsPolicy(BOX, SUBSET, lambda _: 1e-3)
    state = held_out.measure(policy)[1]
    assert state.entropy_share == pytest.approx(1, abs=1e-5)
    assert state.logit_deviation == pytest.approx(0, abs=1e-6)
    assert state.never_chosen == 0
    assert state.subset_entropy == pytest.approx(sum(torch.tensor(64.0 - k).log().item() for k in range(8)), rel=1e-4)
    # The value of an untrained critic is 0; the reward is minus the mean error.
    assert state.value_error == pytest.approx(UNIFORM_ERROR, abs=0.03)


def test_collapse_is_seen(held_out):
    torch.manual_seed(0)
    policy = TatsPolicy(BOX, SUBSET, lambda _: 1e-3)
    with torch.no_grad():
        policy.actor_head.weight.normal_(std=200)
    state = held_out.measure(policy)[1]
    assert state.logit_deviation > 5
    assert state.never_chosen in (0.25, 0.75)  # one of the toy's two kinds of tokens
    assert 0.25 < state.entropy_share < 0.95  # from entropy alone it would not look so bad


def test_a_sampler_without_a_value_network_has_no_value_error(held_out):
    policy = TatsPolicy(BOX, SUBSET, lambda _: 1e-3, sampler=SamplerConfig(critic="none"))
    assert math.isnan(held_out.measure(policy)[1].value_error)


def test_scores_are_turned_into_the_highest_tokens():
    class Scores(BasePolicy):
        def _predict(self, observation, deterministic=False):
            return torch.arange(64.0).expand(len(observation), -1)

    chosen = choose(Scores(BOX, SUBSET), torch.zeros(2, 64, WIDTH), CLIPS, 8)
    assert sorted(chosen[0].tolist()) == list(range(56, 64))


def test_a_policy_that_looks_at_pixels_sees_the_held_out_clips(held_out):
    clips = held_out.clips[:3].clone()
    clips[:, :, 2:] = clips[:, :, :2].repeat(1, 1, 3, 1, 1)  # still
    clips[:, :, 4:6, 16:32, 32:48] ^= 128  # but for place 6 at the third of four tubelets, and back at the fourth
    chosen = choose(MotionPolicy(BOX, SUBSET), torch.zeros(3, 64, WIDTH), clips, 8)
    assert {38, 54} <= set(chosen[0].tolist()) & set(chosen[2].tolist())


def test_a_picture_is_of_the_first_clips_under_the_agents_masks(held_out):
    clips, masks = held_out.picture(_Knowing(BOX, SUBSET), "knowing")
    assert torch.equal(clips, held_out.clips[:16])
    assert (masks.name, masks.probabilities) == ("knowing", None)
    shown = ~masks.reconstruction.mask
    assert shown.sum(1).tolist() == 16 * [8]
    assert (held_out.mae.hardness(clips)[shown] == 2).all()
    _, masks = held_out.picture(TatsPolicy(BOX, SUBSET, lambda _: 1e-3), "untrained")
    torch.testing.assert_close(masks.probabilities, torch.full((16, 64), 1 / 64))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_held_out_clips_are_those_of_the_runs_settings(clips_root, tmp_path, monkeypatch, num_workers):
    opened = []
    monkeypatch.setattr(evaluation, "ClipStream", lambda *args, **kwargs: opened.append((args, kwargs)) or Stream())

    class Stream(NoiseStream):
        def close(self):
            self.closed = True

    config = tiny_config(clips_root, tmp_path)
    config = replace(config, clips=replace(config.clips, num_workers=num_workers), eval_clips=5, num_envs=3, seed=7)
    config = replace(config, reward="error", precision="fp32", grid=replace(config.grid, visible=5))
    held_out = held_out_for(config, ToyMAE(), num_masks=3)
    ((clips,), sizes) = opened.pop()
    assert (clips.split, clips.root, clips.num_workers) == ("validation", str(clips_root), min(num_workers, 1))
    assert sizes == {"frames": config.grid.frames, "size": config.grid.size, "seed": 7}
    assert held_out.stream.closed
    assert held_out.random_ids_keep.shape == (3, 5, 5)  # (S, B, K)
    assert (held_out.batch_size, held_out.seed, held_out.reward, held_out.precision) == (3, 7, "error", "fp32")
