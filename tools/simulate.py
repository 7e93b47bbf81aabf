"""``python tools/simulate.py ...`` is ``synfire simulate ...``."""

import sys

from synfire.cli import main

if __name__ == "__main__":
    sys.exit(main(["simulate", *sys.argv[1:]]))
