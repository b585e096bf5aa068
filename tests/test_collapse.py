"""The symptoms of a collapsing sampler, and the advice for each."""

import logging
from dataclasses import replace

import pytest

from tats_gym.agents.config import PretrainConfig, TatsConfig
from tats_gym.agents.training.collapse import symptoms
from tats_gym.agents.training.measures.evaluation import SamplerState
from tats_gym.agents.training.pretraining import Pretraining
from tests.runs import tiny_config

HEALTHY = SamplerState(entropy_share=0.98, subset_entropy=300.0, logit_deviation=1.0, never_chosen=0.0, value_error=0.1)


def _named(state, clip_fraction=0.0, **tats):
    found = dict(symptoms(state, clip_fraction, PretrainConfig(tats=TatsConfig(**tats))))
    return found


def test_a_healthy_sampler_has_no_symptoms():
    assert not _named(HEALTHY, 0.1)
    assert not _named(None)


def test_lost_tokens_are_noticed_though_the_entropy_is_high():
    lost = replace(HEALTHY, never_chosen=0.12)
    (sentence,) = _named(lost, ent_coef=1e-4, policy_coef=1e-3).values()
    assert sentence.startswith("12% of the tokens are below a thousandth of a uniform probability (entropy 98%")
    assert "--tats.ent-coef (c3, 0.0001)" in sentence
    assert "--tats.policy-coef (c1, 0.001)" in sentence
    assert "--tats.baseline none" in sentence
    assert not _named(lost, baseline="none")
    ((_, sentence),) = symptoms(lost, 0.0, PretrainConfig(agent="group", tats=TatsConfig(baseline="none")))
    assert "--agent tats --tats.baseline none" in sentence
    assert not _named(lost, credit="joint")
    assert list(_named(replace(HEALTHY, never_chosen=0.6), credit="joint")) == ["never_chosen"]


def test_loud_logits_and_clipped_ratios_are_noticed():
    assert list(_named(replace(HEALTHY, logit_deviation=5.5))) == ["logit_deviation"]
    found = _named(HEALTHY, 0.66, credit="joint", n_epochs=4)
    assert list(found) == ["clip_fraction"]
    assert "66% of the ratios" in found["clip_fraction"]
    assert "--tats.n-epochs (4); the joint ratio" in found["clip_fraction"]
    assert "joint" not in _named(HEALTHY, 0.66, credit="position")["clip_fraction"]


@pytest.mark.parametrize(
    ("agent", "advice"),
    [("group", "--tats.ent-coef"), ("adamae", "--mae-optim.base-lr"), ("ppo", "--tats.learning-rate")],
)
def test_the_advice_is_for_the_agent_that_runs(agent, advice):
    ((_, sentence),) = symptoms(replace(HEALTHY, logit_deviation=6.0), 0.0, PretrainConfig(agent=agent))
    assert advice in sentence


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_run_that_collapses_says_so_once(clips_root, tmp_path, caplog):
    tats = TatsConfig(learning_rate=1.0, warmup_epochs=0, credit="joint", policy_coef=1.0, ent_coef=0.0)
    config = tiny_config(clips_root, tmp_path, tats=tats, eval_interval=4)
    run = Pretraining(config)
    with caplog.at_level(logging.WARNING, logger="tats_gym.agents.training.collapse"):
        run.run()
    run.close()
    said = [record.getMessage() for record in caplog.records if record.name == "tats_gym.agents.training.collapse"]
    assert any("the logits of a clip's tokens deviate" in each for each in said)
    assert len(said) == len({each.split(": ")[1][:12] for each in said}) <= 3
