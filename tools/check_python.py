"""Can this Python carry an environment for Synfire? Ends with one sentence where it cannot.

``python check_python.py [MODULE ...]``: the modules must be there too.
"""

import sys


def problem(modules):
    """What is wrong, or None. Reads as Python 2 too, which is the first that may be asked."""
    if sys.version_info < (3, 10):
        return "Synfire needs Python 3.10 or newer, this is %d.%d" % sys.version_info[:2]
    from importlib.util import find_spec

    if find_spec("ensurepip") is None:
        return "this Python cannot make environments: install its venv package (python3-venv)"
    if modules and sys.prefix != sys.base_prefix:
        return "a virtual environment cannot lend its packages: name the Python it was made with"
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        return "this Python has no %s to lend: install it there" % " and ".join(missing)
    return None


if __name__ == "__main__":
    found = problem(sys.argv[1:])
    if found:
        sys.exit("%s (%s); choose another with make PYTHON=..." % (found, sys.executable))
