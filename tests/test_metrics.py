"""Metrics are read back row by row, past any other lines between the rows."""

import pytest

from tats_gym.runs.metrics import METRICS, drop_metrics_after, read_metrics


@pytest.mark.parametrize(
    "rubbish", [b"\xff\xfe", b"[" * 100_000, b"[1]", b"7", b'{"step": "2"}', b'{"step": [2]}', b'{"st']
)
def test_lines_that_are_no_rows_are_left_out(tmp_path, rubbish):
    path = tmp_path / METRICS
    path.write_bytes(b'{"step": 1, "loss": 0.5}\n' + rubbish + b'\n{"step": 3}\n')
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 0.5}, {"step": 3}]
    drop_metrics_after(tmp_path, 2)
    assert path.read_bytes() == b'{"step": 1, "loss": 0.5}\n'
