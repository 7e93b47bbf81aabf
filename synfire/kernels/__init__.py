"""Operators: one folder each, with a readable reference and faster paths behind one ``torch.library`` operator."""

from synfire.kernels.dispatch import Explanation, SlowPathWarning, explain, operators, use

__all__ = ["Explanation", "SlowPathWarning", "explain", "operators", "use"]
