"""``python -m synfire VERB`` is ``synfire VERB``."""

import sys

from synfire.cli import main

if __name__ == "__main__":
    sys.exit(main())
