"""Train under faults, count the processes' resources, and say whether they grew: python -m tests.soak --minutes 120."""

import sys

import tyro

from tests.soak.soak import SoakConfig, soak

if __name__ == "__main__":
    sys.exit(soak(tyro.cli(SoakConfig, prog="python -m tests.soak", description=__doc__)))
