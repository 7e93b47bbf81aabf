"""Can this Python carry an environment for Synfire? Ends with one sentence where it cannot.

``python check_python.py [MODULE ...]``: the modules must be there too.
"""

import sys


def problem(modules):
    """What is wrong, or None."""
    if sys.version_info < (3, 10):
        return f"Synfire needs Python 3.10 or newer, this is {sys.version.split()[0]}"
    from importlib.util import find_spec

    if sys.platform != "win32" and find_spec("ensurepip") is None:
        return "this Python cannot make environments: install its venv package (python3-venv)"
    missing = [name for name in modules if find_spec(name) is None]
    if not missing:
        return None
    if sys.prefix != sys.base_prefix:
        return f"a virtual environment cannot lend its {missing[0]}: name the Python below it"
    return f"this Python has no {missing[0]} to lend: install it, or leave out USE_SYSTEM_TORCH"


if __name__ == "__main__":
    found = problem(sys.argv[1:])
    if found:
        sys.exit(f"{found} ({sys.executable}); choose another with make PYTHON=...")
