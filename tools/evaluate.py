"""``python tools/evaluate.py ...`` is ``synfire evaluate ...``."""

import sys

from synfire.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
