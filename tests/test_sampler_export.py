"""The sampler alone chooses the same tokens as the agent of its run."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tats_gym.agents.policy import SamplerConfig
from tats_gym.agents.trained.sampler_export import export_sampler, load_sampler
from tats_gym.agents.training.pretraining import Pretraining
from tats_gym.encoders.weight_files import DESCRIPTION, read_safetensors
from tats_gym.runs.checkpoint import CheckpointError
from tests.encoders import clips_for
from tests.runs import tiny_config

CONFIGS = {
    "shared": SamplerConfig(critic="shared"),
    "wide": SamplerConfig(width=128, depth=2, mlp_ratio=2.0, pos_embed="learned", temperature=0.5),
}


def random_run(clips_root, folder, **changes):
    """Save an untrained run whose weights are all random."""
    run = Pretraining(tiny_config(clips_root, folder, **changes))
    run.close()
    torch.manual_seed(0)
    for parameter in run.agent.policy.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    run.save()
    return run


@pytest.mark.parametrize("name", CONFIGS)
def test_it_chooses_the_same_tokens_as_the_agent(clips_root, tmp_path, name):
    run = random_run(clips_root, tmp_path, sampler=CONFIGS[name])
    (path,) = export_sampler(run.folder, tmp_path / "out")
    sampler = load_sampler(tmp_path / "out")
    clips = clips_for(run.config.grid, count=3)
    theirs = run.agent.policy.get_distribution(run.mae.embed(clips)).distribution
    torch.testing.assert_close(sampler.distribution(clips).token_log_prob, theirs.token_log_prob)
    assert torch.equal(sampler(clips), theirs.mode)
    assert sampler(clips).shape == (3, 3)
    assert sampler(clips).dtype == torch.int64
    more = load_sampler(path)(clips, 5)
    assert torch.equal(more[:, :3], sampler(clips))
    assert all(len(set(row)) == 5 for row in more.tolist())
    assert not sampler.training


def test_draws_follow_their_generator_and_their_probabilities(clips_root, tmp_path):
    run = random_run(clips_root, tmp_path)
    export_sampler(run.folder, tmp_path / "out")
    sampler = load_sampler(tmp_path / "out")
    clip = clips_for(run.config.grid, count=1)

    def draw(seed, count=1):
        return sampler(clip.expand(count, -1, -1, -1, -1), 1, generator=torch.Generator().manual_seed(seed))

    before = torch.get_rng_state()
    assert torch.equal(draw(1, 50), draw(1, 50))
    assert not torch.equal(draw(1, 50), draw(2, 50))
    assert torch.equal(torch.get_rng_state(), before)
    counts = draw(3, 4000).flatten().bincount(minlength=8) / 4000
    probabilities = sampler.distribution(clip).token_log_prob.exp()[0]
    assert probabilities.max() > 1.5 * probabilities.min()
    torch.testing.assert_close(counts, probabilities, atol=0.03, rtol=0)  # four standard deviations


def test_it_holds_neither_the_mae_nor_the_critic(clips_root, tmp_path):
    run = random_run(clips_root, tmp_path, sampler=SamplerConfig(critic="separate"))
    (path,) = export_sampler(run.folder, tmp_path / "out")
    first = {name.split(".")[0] for name in load_file(path)}
    assert first == {"embedding", "actor", "actor_head"}
    assert not any("blocks" in name for name in load_file(path) if name.startswith("embedding"))
    assert str(tmp_path).encode() not in path.read_bytes()


def test_agents_without_a_sampler_are_named(clips_root, tmp_path):
    run = random_run(clips_root, tmp_path, agent="random")
    with pytest.raises(ValueError, match="must be tats to have a sampler, got 'random'"):
        export_sampler(run.folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_sampler_is_named(clips_root, tmp_path):
    torch.save({"model": {}}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="is not a run, and only a run"):
        export_sampler(tmp_path / "a.pth", tmp_path / "out")
    with pytest.raises(CheckpointError, match="there is no sampler at"):
        load_sampler(tmp_path)
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="holds no sampler"):
        load_sampler(tmp_path / "a.safetensors")
    (path,) = export_sampler(random_run(clips_root, tmp_path).folder, tmp_path / "out")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="does not match SHA256SUMS beside it"):
        load_sampler(path)
    path.with_name("SHA256SUMS").unlink()
    with pytest.raises(CheckpointError, match="not a complete safetensors file"):
        load_sampler(tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sampler": {"temperature": float("nan")}}, r"sampler\.temperature must be finite, got nan"),
        ({"sampler": {"depth": 10**9}}, r"sampler\.depth is 1000000000, but there are"),
        ({"sampler": {"mlp_ratio": 1e9}}, r"weights are missing: 'actor\."),
        ({"grid": {"visible": 3.5}}, r"grid\.visible must be a whole number, got 3\.5"),
        ({"grid": {"frames": 2**40}}, "a clip must have at most 1048576 tokens"),
        ({"mae": {"embed_dim": 128}}, "must have the shape"),
        ({"mae": None}, "mae must be an object"),
    ],
)
def test_a_sampler_whose_description_is_damaged_is_refused(clips_root, tmp_path, change, message):
    (path,) = export_sampler(random_run(clips_root, tmp_path).folder, tmp_path / "out")
    path.with_name("SHA256SUMS").unlink()
    file = read_safetensors(path)
    ((name, part),) = change.items()
    description = file.description | {name: part and file.description[name] | part}
    save_file(file.weights, path, {DESCRIPTION: json.dumps(description)})
    with pytest.raises(CheckpointError, match=message):
        load_sampler(path)
