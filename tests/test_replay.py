"""The replay buffer holds where clips came from, and gives the MAE's present outputs for them."""

import io
import pickle

import numpy as np
import pytest
import torch
from stable_baselines3 import SAC

from tats_gym.agents.stock.policies import TokenSACPolicy
from tats_gym.agents.stock.replay import ClipReplayBuffer
from tats_gym.envs.spaces import ScoreBox, TokenBox
from tats_gym.runs.checkpoint import load_checkpoint, save_checkpoint
from tests.toy import toy_env

TOKENS = 64


@pytest.fixture(name="env")
def _env(clips_root):
    env = toy_env(clips_root, num_envs=2, action="scores")
    env.reset()
    yield env
    env.close()


def _buffer(env, size=6, **kwargs):
    buffer = ClipReplayBuffer(size, env.observation_space, env.action_space, "cpu", n_envs=2, **kwargs)
    buffer.attach(env.vector_env)
    return buffer


def _add(buffer, positions):
    """Store clips whose scores and rewards say their position: position / 100, and minus the position."""
    positions = np.array(positions)
    scores = np.repeat(positions[:, None] / 100, TOKENS, 1).astype(np.float32)
    infos = [{"position": int(position)} for position in positions]
    buffer.add(None, None, scores, -positions.astype(np.float32), np.ones(len(positions), dtype=bool), infos)


def _stored(buffer):
    return buffer.state_dict()["positions"].tolist()


def test_a_transition_comes_back_with_its_clip_embedded_now(env):
    buffer, vector_env = _buffer(env), env.vector_env
    _add(buffer, [4, 9])
    with torch.no_grad():
        vector_env.mae.directions += 1  # the MAE has learned since
    torch.manual_seed(0)
    batch = buffer.sample(8)
    positions = (batch.actions[:, 0] * 100).round().long()
    assert set(positions.tolist()) == {4, 9}
    assert torch.equal(batch.rewards, -positions[:, None].float())
    assert torch.equal(batch.dones, torch.ones(8, 1))
    assert batch.next_observations is batch.observations
    assert (batch.observations.shape, batch.observations.dtype) == ((8, TOKENS, 64), torch.float32)
    expected = vector_env.mae.embed(vector_env.clip_buffer.stream.again(positions.tolist()).pixels)
    assert torch.equal(batch.observations, expected)


def test_in_the_place_of_clips_that_are_gone_come_others_of_the_same_draw(env, monkeypatch):
    buffer, stream = _buffer(env), env.vector_env.clip_buffer.stream
    _add(buffer, [0, 1])
    _add(buffer, [2, 3])
    again = stream.again
    monkeypatch.setattr(stream, "again", lambda asked: again([each for each in asked if each != 2]))
    torch.manual_seed(0)
    batch = buffer.sample(16)
    positions = (batch.actions[:, 0] * 100).round().long()
    assert set(positions.tolist()) == {0, 1, 3}
    assert torch.equal(batch.rewards, -positions[:, None].float())
    assert torch.equal(batch.observations, env.vector_env.mae.embed(again(positions.tolist()).pixels))


def test_an_algorithm_stores_the_steps_of_the_environment(env):
    agent = SAC(TokenSACPolicy, env, buffer_size=10, replay_buffer_class=ClipReplayBuffer, seed=0, device="cpu")
    agent.replay_buffer.attach(env.vector_env)
    agent.learn(6)
    state = agent.replay_buffer.state_dict()
    assert (state["positions"].tolist(), state["seed"]) == ([0, 1, 2, 3, 4, 5], 0)
    pixels = env.vector_env.clip_buffer.stream.again(range(6)).pixels
    with torch.no_grad():
        rewards = -env.vector_env.mae(pixels, state["scores"].topk(8, dim=1).indices).errors.mean(1)
    torch.testing.assert_close(state["rewards"], rewards)


def test_the_oldest_make_room(env):
    buffer = _buffer(env, size=5)
    for first in (0, 2, 4):
        _add(buffer, [first, first + 1])
    assert _stored(buffer) == [1, 2, 3, 4, 5]
    assert buffer.size() == 5
    _add(buffer, [6, 7])
    assert _stored(buffer) == [3, 4, 5, 6, 7]
    torch.manual_seed(0)
    seen = (buffer.sample(200).actions[:, 0] * 100).round().long().bincount(minlength=8).tolist()
    assert seen[:3] == [0, 0, 0]
    assert all(20 <= count <= 60 for count in seen[3:])
    buffer.reset()
    assert (buffer.size(), _stored(buffer)) == (0, [])


def test_a_checkpoint_holds_it_and_the_same_is_drawn_again(env, tmp_path):
    buffer = _buffer(env, size=5)
    for first in (0, 2, 4):
        _add(buffer, [first, first + 1])
    state = load_checkpoint(save_checkpoint(tmp_path, 0, buffer.state_dict(), keep=2))
    again, smaller = _buffer(env, size=5), _buffer(env, size=3)
    for each in (again, smaller):
        each.load_state_dict(state)
    assert again.seed == 0
    for each in (buffer, again):
        _add(each, [6, 7])
    draws = []
    for each in (buffer, again):
        torch.manual_seed(3)
        draws.append(each.sample(16))
    assert all(torch.equal(one, two) for one, two in zip(draws[0][:5], draws[1][:5], strict=True))
    assert _stored(smaller) == [3, 4, 5]
    other = ClipReplayBuffer(5, env.observation_space, ScoreBox(32, 4), "cpu")
    with pytest.raises(ValueError, match=r"expected scores of 32 tokens, got shape \(5, 64\)"):
        other.load_state_dict(state)


def test_a_transition_takes_kilobytes():
    buffer = ClipReplayBuffer(10_000, TokenBox((1568, 768), (8, 14, 14)), ScoreBox(1568, 78), "cpu", n_envs=32)
    arrays = [value for value in vars(buffer).values() if isinstance(value, torch.Tensor)]
    assert sum(array.nbytes for array in arrays) == 10_000 * (8 + 4 * 1568 + 4)


def test_neither_pickles_nor_zips_hold_the_environment(env):
    agent = SAC(TokenSACPolicy, env, buffer_size=10, replay_buffer_class=ClipReplayBuffer, seed=0, device="cpu")
    agent.replay_buffer.attach(env.vector_env)
    agent.learn(4)
    zipped = io.BytesIO()
    agent.save(zipped)
    loaded = SAC.load(zipped, env=env, device="cpu")
    for (name, ours), theirs in zip(
        agent.policy.state_dict().items(), loaded.policy.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name
    copy = pickle.loads(pickle.dumps(agent.replay_buffer))
    assert _stored(copy) == [0, 1, 2, 3]
    for buffer in (loaded.replay_buffer, copy):
        assert buffer.vector_env is None
    with pytest.raises(RuntimeError, match=r"call agent.replay_buffer.attach\(env.vector_env\)"):
        copy.sample(1)
    copy.attach(env.vector_env)
    assert copy.sample(1).observations.shape == (1, TOKENS, 64)


def test_steps_that_cannot_be_stored_are_refused(env):
    buffer = _buffer(env)
    with pytest.raises(RuntimeError, match="the replay buffer is empty"):
        buffer.sample(1)
    with pytest.raises(ValueError, match=r"clips \[1\] of this step have no position in the stream"):
        _add(buffer, [0, -1])
    scores, infos = np.zeros((2, TOKENS), dtype=np.float32), [{"position": 0}, {"position": 1}]
    with pytest.raises(ValueError, match="every step must end its episode"):
        buffer.add(None, None, scores, np.zeros(2), np.array([True, False]), infos)
    with pytest.raises(ValueError, match="optimize_memory_usage does not apply"):
        _buffer(env, optimize_memory_usage=True)
    with pytest.raises(ValueError, match="must hold a step of all 2 environments, got 1"):
        _buffer(env, size=1)
    assert buffer.size() == 0


def test_positions_of_another_seed_are_not_taken_for_ones_own(env):
    buffer = _buffer(env)
    _add(buffer, [0, 1])
    env.vector_env.clip_buffer.stream.seek(0, seed=8)
    with pytest.raises(RuntimeError, match=r"the stream's seed is 8, but the 2 stored transitions .* under the seed 0"):
        buffer.sample(1)
    with pytest.raises(RuntimeError, match=r"call agent.replay_buffer.reset\(\) after a change of the seed"):
        _add(buffer, [2, 3])
    buffer.reset()
    _add(buffer, [2, 3])
    assert _stored(buffer) == [2, 3]
