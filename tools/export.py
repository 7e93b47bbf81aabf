"""``python tools/export.py ...`` is ``synfire export ...``."""

import sys

from synfire.cli import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
