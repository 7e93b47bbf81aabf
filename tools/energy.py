"""``python tools/energy.py ...`` is ``synfire energy ...``."""

import sys

from synfire.cli import main

if __name__ == "__main__":
    sys.exit(main(["energy", *sys.argv[1:]]))
