"""``python tools/models.py ...`` is ``synfire models ...``."""

import sys

from synfire.cli import main

if __name__ == "__main__":
    sys.exit(main(["models", *sys.argv[1:]]))
