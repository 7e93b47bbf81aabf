"""``python tools/verify.py ...`` is ``synfire verify ...``."""

import sys

from synfire.cli import main

if __name__ == "__main__":
    sys.exit(main(["verify", *sys.argv[1:]]))
