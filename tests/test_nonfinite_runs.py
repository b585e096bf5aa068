"""Runs in which a number is not finite, for agents of every kind: ended runs, skipped steps, kept checkpoints."""

import copy
import json
import logging
import math

import pytest
import torch

from tats_gym.agents.peers.adamae import AdaMAEPolicy
from tats_gym.agents.plackett_luce import PlackettLuce
from tats_gym.agents.policy import TatsPolicy
from tats_gym.agents.stock.networks import GaussianScores, ScoreCritic
from tats_gym.agents.subset_policy import MaskDistribution
from tats_gym.agents.training.pretraining import Pretraining
from tats_gym.agents.training.resume import resume
from tats_gym.envs.rewards import Reward
from tats_gym.model.videomae import Reconstruction
from tats_gym.runs.checkpoint import latest_checkpoint, load_checkpoint
from tats_gym.train import nonfinite
from tats_gym.train.nonfinite import NonFiniteError
from tests.runs import tiny_config

AGENTS = ["tats", "group", "adamae", "ppo", "sac"]
QUANTITIES = {
    "the reward": [(Reward, "__call__", None)],
    "the MAE's loss": [(Reconstruction, "errors", None)],
    "a value of the sampler": [(TatsPolicy, "score", 1), (AdaMAEPolicy, "score", 1), (ScoreCritic, "q_values", 0)],
    "a log-probability of the sampler": [(MaskDistribution, "log_prob", None), (GaussianScores, "action_log_prob", 1)],
    "the sampler's entropy_loss": [(PlackettLuce, "entropy", None)],
}
"""The number that goes bad, by name, and its source: an owner, the name there, and the part of the answer."""


def _run(clips_root, out, agent, **changes):
    return Pretraining(tiny_config(clips_root, out, agent=agent, eval_interval=10_000, **changes))


def _weights(run):
    """Those that are trained; SAC's targets follow them."""
    agent = {name: value for name, value in run.agent.policy.state_dict().items() if "target" not in name}
    return copy.deepcopy([*run.mae.state_dict().values()]), copy.deepcopy([*agent.values()])


def _same(one, two):
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


class _Spoiler:
    """Has one of a run's numbers be bad once a checkpoint of step 16 is there: from the fifth step of four clips on."""

    def __init__(self, run, patch, quantity, bad):
        self.run, self.bad, self.save = run, bad, run.save
        self.before = None
        """All weights of the moment when it began."""
        patch.setattr(run, "save", self._save)
        for owner, name, part in QUANTITIES[quantity]:
            whole = vars(owner)[name]
            if isinstance(whole, property):
                patch.setattr(owner, name, property(self._wrap(whole.fget, part)))
            else:
                patch.setattr(owner, name, self._wrap(whole, part))

    def _save(self):
        self.save()
        if self.run.agent.num_timesteps == 16:
            self.before = _weights(self.run)

    def _wrap(self, whole, part):
        def wrapped(*args, **kwargs):
            answer = whole(*args, **kwargs)
            if self.before is None:
                return answer
            if part is None:
                return answer * self.bad
            return tuple(each * self.bad if i == part else each for i, each in enumerate(answer))

        return wrapped


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # in SB3's generalised advantages
@pytest.mark.parametrize(
    ("agent", "quantity", "bad"),
    [
        (agent, quantity, (math.nan, math.inf)[(i + j) % 2])
        for i, agent in enumerate(AGENTS)
        for j, quantity in enumerate(QUANTITIES)
        if not (agent in ("adamae", "sac") and "entropy" in quantity)  # they have none
    ],
)
def test_a_number_that_is_not_finite_ends_the_run_and_changes_no_weight(
    clips_root, tmp_path, monkeypatch, agent, quantity, bad
):
    run = _run(clips_root, tmp_path, agent)
    spoiler = _Spoiler(run, monkeypatch, quantity, bad)
    # SAC asks for values and log-probabilities only when it learns.
    named = "the sampler's actor_loss" if agent == "sac" and "of the sampler" in quantity else quantity
    with pytest.raises(NonFiniteError, match=rf"{named} is -?(nan|inf) at timestep 20; no weight was changed"):
        run.run()
    run.close()
    (mae, agent_before), (mae_now, agent_now) = spoiler.before, _weights(run)
    assert _same(agent_before, agent_now)
    assert _same(mae, mae_now) == ("sampler" not in quantity)  # those are noticed after a step of the MAE
    state = load_checkpoint(run.folder)
    assert state["step"] == 16
    assert _same(mae, state["mae"].values())


HEADS = ("actor_head.weight", "head.weight", "actor.net.head.weight", "critic.q_networks.0.both.2.weight")
"""A weight of each network that some agent has an optimiser for."""


def _overflow(parameters, when):
    """Have gradients overflow whenever `when` says so."""
    for parameter in parameters:
        parameter.register_hook(lambda gradient: gradient * math.inf if when() else gradient)


def _heads(run):
    parameters = dict(run.agent.policy.named_parameters())
    return [parameters[name] for name in HEADS if name in parameters]


def _everything(agent):
    """All weights, moments and step counts; but for SAC's targets and entropy coefficient, which move all the same."""
    weights, *optimizers = (value for name, value in agent.get_parameters().items() if name != "ent_coef_optimizer")
    weights = {name: value for name, value in weights.items() if "target" not in name}
    return json.dumps([weights, *(each["state"] for each in optimizers)], default=torch.Tensor.tolist)


def _rows(run, key):
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    return [row[key] for row in rows if key in row]


@pytest.mark.parametrize("agent", AGENTS)
def test_a_gradient_that_overflows_is_left_out_counted_and_remembered(clips_root, tmp_path, monkeypatch, agent, caplog):
    run = _run(clips_root, tmp_path, agent)
    _overflow(_heads(run), lambda: run.agent.num_timesteps == 20)
    _overflow([run.mae.mask_token], lambda: run.optimizer.steps == 5)
    moved, learn = {}, run.agent.train

    def train(*args, **kwargs):
        before = _everything(run.agent)
        learn(*args, **kwargs)
        moved[run.agent.num_timesteps] = before != _everything(run.agent)

    monkeypatch.setattr(run.agent, "train", train)
    with caplog.at_level(logging.WARNING):
        assert run.run().finished
    run.close()
    networks = 2 if agent == "sac" else 1
    named = [message for message in caplog.messages if "gradients is" in message]
    assert sum("sampler's gradients is" in each and "at timestep 20," in each for each in named) == networks
    assert sum("MAE's gradients is inf at optimiser step 5," in each for each in named) == 1
    assert len(named) == networks + 1
    assert [step for step, really in moved.items() if step > 16 and really] == [24, 28, 32]
    assert run.optimizer.steps == 8
    assert _rows(run, "mae/skipped_steps")[-1] == 1
    assert _rows(run, "mae/skipped_steps")[0] == 0
    assert _rows(run, "sampler/skipped_steps")[-1] == networks
    assert all(0 < norm < math.inf for norm in _rows(run, "mae/grad_norm"))
    again = resume(run.folder)
    again.close()
    assert again.optimizer.guard.skipped == 1
    assert sum(guard.skipped for guard in again.finite.guards) == networks


@pytest.mark.parametrize("agent", ["tats", "sac", "random"])
@pytest.mark.parametrize("whose", ["MAE", "sampler"])
def test_too_many_in_a_row_end_the_run_across_a_resume(clips_root, tmp_path, monkeypatch, agent, whose):
    if (agent, whose) == ("random", "sampler"):
        pytest.skip("it has none")
    monkeypatch.setattr(nonfinite, "MAX_SKIPPED_IN_A_ROW", 3)
    run = _run(clips_root, tmp_path, agent, checkpoint_interval=4, keep_checkpoints=9)

    def spoil(run):
        _overflow([run.mae.mask_token] if whose == "MAE" else _heads(run), lambda: run.agent.num_timesteps > 12)

    spoil(run)
    message = rf"the norm of the {whose}'s gradients is (nan|inf) at .*step \d+, and 3 steps in a row were skipped"
    with pytest.raises(NonFiniteError, match=message):
        run.run()
    run.close()
    assert load_checkpoint(run.folder)["step"] == 20
    again = resume(run.folder)  # after two
    spoil(again)
    before = _weights(again)
    with pytest.raises(NonFiniteError, match=message):
        again.run()
    again.close()
    assert again.agent.num_timesteps == 24
    mae_or_agent = ("MAE", "sampler").index(whose)
    assert _same(before[mae_or_agent], _weights(again)[mae_or_agent])
    assert latest_checkpoint(again.folder).name == "step-000000000020.pt"


def test_an_mae_that_does_not_learn_must_be_finite_too(clips_root, tmp_path, monkeypatch):
    run = _run(clips_root, tmp_path, "tats", train_mae=False)
    _Spoiler(run, monkeypatch, "the MAE's loss", math.nan)
    with pytest.raises(NonFiniteError, match="the MAE's loss is nan at timestep 20"):
        run.run()
    run.close()


def test_the_line_search_of_trpo_refuses_the_step_of_such_a_gradient(clips_root, tmp_path, monkeypatch):
    run = _run(clips_root, tmp_path, "trpo")
    _overflow(_heads(run), lambda: run.agent.num_timesteps == 20)
    moved, learn = {}, run.agent.train

    def train():
        before = run.agent.policy.actor_head.weight.clone()
        learn()
        moved[run.agent.num_timesteps] = not torch.equal(before, run.agent.policy.actor_head.weight)

    monkeypatch.setattr(run.agent, "train", train)
    assert run.run().finished
    run.close()
    assert not moved.pop(20)
    assert any(moved.values())
    assert all(weight.isfinite().all() for weight in run.agent.policy.parameters())
