"""``python tools/report.py ...`` is ``synfire report ...``."""

import sys

from synfire.cli import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
