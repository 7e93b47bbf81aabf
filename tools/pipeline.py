"""``python tools/pipeline.py ...`` is ``synfire pipeline ...``."""

import sys

from synfire.cli import main

if __name__ == "__main__":
    sys.exit(main(["pipeline", *sys.argv[1:]]))
