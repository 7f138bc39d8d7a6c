"""``python -m aisle_smc`` is the command ``aisle``."""

import sys

from aisle_smc.cli import main

if __name__ == "__main__":
    sys.exit(main())
