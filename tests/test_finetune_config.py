"""The settings of a fine-tuning: the paper's, and those that are refused."""

import pytest

from tats_gym.finetune.config import FinetuneConfig, finetune_preset


def test_the_paper_recipe_is_table_4():
    for data, views, stride in (("ssv2", 2, 2), ("k400", 5, 4), ("ucf101", 2, 2), ("hmdb51", 2, 2)):
        config = finetune_preset(f"TatsMask-{data}-v0", "run")
        assert (config.temporal_views, config.spatial_views, config.clips.stride) == (views, 3, stride)
        assert (config.batch_size, config.drop_path, config.optim.epochs) == (8, 0.1, 100)
        optim = config.optim
        assert (optim.betas, optim.weight_decay, optim.base_lr) == ((0.9, 0.999), 0.05, 1e-3)
        assert (optim.layer_decay, optim.warmup_epochs) == (0.75, 5)
        assert (config.mix.smoothing, config.mix.mixup, config.mix.cutmix) == (0.1, 0.8, 1.0)
        assert config.clips.flip == (data != "ssv2")
        assert (config.clips.repeats, config.clips.randaug) == (1, "rand-m9-n2-mstd0.5-inc1")
        assert not config.clips.antialias
        assert not config.clips.held_out.antialias
        assert config.clips.sampling == ("segments" if data == "ssv2" else "stride")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"optim": {"layer_decay": 0.0}}, r"layer_decay must lie in \(0, 1\], got 0"),
        ({"clips": {"data": "k400"}}, "TatsMask-demo-v0 reads 'demo', but clips.data is 'k400'"),
        ({"pool": "frame"}, "pool must be one of .*; got 'frame'; did you mean 'frames'"),
        ({"seed": -1}, r"seed must lie in \[0, 2\*\*32\), got -1"),
        ({"seed": 2**32}, r"seed must lie in \[0, 2\*\*32\), got 4294967296"),
    ],
)
def test_bad_settings_are_named(changes, message):
    values = finetune_preset("TatsMask-demo-v0", "tiny").as_dict()
    with pytest.raises(ValueError, match=message):
        FinetuneConfig.from_dict({k: {**v, **changes.get(k, {})} if isinstance(v, dict) else changes.get(k, v)
                                  for k, v in values.items()})  # fmt: skip
