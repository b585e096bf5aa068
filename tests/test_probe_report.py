"""The tables of probes, by hand."""

import numpy as np
import pytest

from tats_gym.agents.experiments.probe.report import (
    ProbeKind,
    effect_table,
    pretraining_effects,
    probe_figure,
    record_tables,
)


def record(agent="tats", ratio=0.9, data="ucf101", **changes):
    origin = {"kind": "run", "path": f"runs/{agent}", "agent": agent, "mask_ratio": ratio}
    shared = {"encoder": origin, "data": data, "method": "logistic", "pool": "mean", "norm": "encoder", "chance": 0.01}
    return {**shared, "top1": 0.5, "top5": 0.75, **changes}


def test_a_table_has_datasets_and_ratios_down_and_samplers_across():
    untrained = record(encoder={"kind": "preset", "path": "base"}, top1=0.02, top5=None)
    records = [record(), record("random", top1=0.4), record(ratio=0.95, top5=0.7), record(data="hmdb51"), untrained]
    title, head, *rows = (line.split() for line in record_tables(records).splitlines())
    assert title == ["logistic,", "mean", "over", "tokens,", "after", "encoder.norm;", "per", "cent"]
    assert " ".join(head) == (
        "dataset mask ratio chance tats top-1 tats top-5 random top-1 random top-5 "
        "untrained base top-1 untrained base top-5"
    )
    assert rows == [
        ["ucf101", "0.90", "1.00", "50.00", "75.00", "40.00", "75.00", "-", "-"],
        ["ucf101", "0.95", "1.00", "50.00", "70.00", "-", "-", "-", "-"],
        ["hmdb51", "0.90", "1.00", "50.00", "75.00", "-", "-", "-", "-"],
        ["ucf101", "-", "1.00", "-", "-", "-", "-", "2.00", "-"],
    ]


def test_seeds_share_a_cell_with_their_interval():
    """Two seeds at 50 and 52: mean 51, half-width t(.975, 1) * 1 = 12.71."""
    table = record_tables([record(), record(top1=0.52)])
    assert "51.00 ± 12.71 (n 2)" in table
    assert "75.00 ± 0.00 (n 2)" in table


def test_methods_and_norms_have_tables_of_their_own():
    records = [record(), record(method="knn"), record(norm="none", pool="frames")]
    tables = record_tables(records).split("\n\n")
    assert [table.splitlines()[0] for table in tables] == [
        "logistic, mean over tokens, after encoder.norm; per cent",
        "knn, mean over tokens, after encoder.norm; per cent",
        "logistic, pool frames, before encoder.norm; per cent",
    ]


def probe_rows():
    tops = {(0, 0): 0.1, (0, 8): 0.3, (1, 0): 0.2, (1, 8): 0.5}
    shared = {"agent": "random", "method": "knn", "pool": "mean", "norm": "none", "chance": 0.125}
    rows = [{**shared, "seed": seed, "step": step, "top1": top} for (seed, step), top in tops.items()]
    return [*rows, *({**row, "step": 4, "top1": 0.9} for row in rows[:1])]  # numbers between are not compared


def test_seeds_are_compared_with_themselves_untrained():
    """Differences .2 and .3: mean .25, interval +- 12.71 * .05."""
    found = pretraining_effects(probe_rows())[ProbeKind("random", "knn", "mean", "none")]
    assert (found.trained.mean, found.untrained.mean) == pytest.approx((0.4, 0.15))
    assert found.difference.values == pytest.approx((0.2, 0.3))
    assert found.difference.low == pytest.approx(0.25 - 12.706 * 0.05, abs=1e-3)
    table = effect_table(pretraining_effects(probe_rows()), 0.125)
    assert "2      12.5    15.0       40.0         +25.0 [-38.5, +88.5]" in table


def test_a_seed_without_its_end_is_an_error():
    with pytest.raises(ValueError, match=r"seeds \[0\] have a last step, but \[0, 1\] a first one"):
        pretraining_effects([row for row in probe_rows() if (row["seed"], row["step"]) != (1, 8)])


def test_the_picture_has_a_panel_for_each_method_and_pool():
    rows = [row for row in probe_rows() if row["step"] != 4]
    one = probe_figure(rows, "one")
    more = probe_figure([*rows, *({**row, "pool": "frames"} for row in rows)], "two")
    assert one.dtype == np.uint8
    assert more.shape[0] > one.shape[0]
    assert one.std() > 0
