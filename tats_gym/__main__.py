"""`python -m tats_gym`: the command line of `tats-gym`; torchrun starts it as `torchrun -m tats_gym train ...`."""

import sys

from tats_gym.commands import main

if __name__ == "__main__":
    sys.exit(main())
