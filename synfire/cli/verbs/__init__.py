"""The verbs. Each module has a docstring, an ``EXAMPLE`` and ``run(parser, words) -> code``."""
