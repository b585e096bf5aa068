"""The list of equivalent mutants and the record of mutation testing speak of the code as it is."""

import json
import re
from pathlib import Path

import pytest

from tests.mutation.core import CORE

ROOT = Path(__file__).parents[1]
EQUIVALENT = json.loads((ROOT / "tests/mutation/equivalent.json").read_text(encoding="utf-8"))
RECORD = json.loads((ROOT / "benchmarks/results/mutation.json").read_text(encoding="utf-8"))["modules"]
FILES = [module.file for module in CORE]


def test_the_record_holds_every_module_of_the_core_and_no_other():
    assert sorted(RECORD) == sorted(FILES)
    assert EQUIVALENT.keys() <= set(FILES)


@pytest.mark.parametrize("file", EQUIVALENT)
def test_lines_of_equivalent_mutants_are_lines_of_the_file(file):
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    text = " ".join(line.strip() for line in lines)  # as a statement over several lines is listed
    assert [each["before"] for each in EQUIVALENT[file] if each["before"] not in text] == []


def test_the_readme_has_the_sums_of_the_record():
    total, equivalent = (sum(each[name] for each in RECORD.values()) for name in ("mutants", "equivalent"))
    told = re.findall(r"[\d,]*\d{3}\b", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert f"{total:,}" in told
    assert f"{total - equivalent:,}" in told
