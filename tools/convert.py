"""``python tools/convert.py ...`` is ``synfire convert ...``."""

import sys

from synfire.cli import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))
