"""Results that are kept beside the inputs that they were measured from."""

from tats_gym.agents.experiments.trials.stored_results import read_result, store_result


def test_a_result_is_returned_for_its_own_inputs_alone(tmp_path):
    path = tmp_path / "result.json"
    assert read_result(path, {"pool": "mean"}) is None
    store_result(path, {"pool": "mean", "sizes": (1, 2)}, {"top1": 0.5})
    assert read_result(path, {"pool": "mean", "sizes": (1, 2)}) == {"top1": 0.5}
    assert read_result(path, {"pool": "frames", "sizes": (1, 2)}) is None


def test_a_file_of_an_older_version_is_read(tmp_path):
    (tmp_path / "result.json").write_text('{"of": {"pool": "mean"}, "found": {"top1": 0.5}}')
    assert read_result(tmp_path / "result.json", {"pool": "mean"}) == {"top1": 0.5}
    assert read_result(tmp_path / "result.json", {"pool": "frames"}) is None
