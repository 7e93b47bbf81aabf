"""``python tools/train.py ...`` is ``synfire train ...``."""

import sys

from synfire.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
