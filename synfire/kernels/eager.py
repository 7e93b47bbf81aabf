"""Short cut around torch's operator dispatch, which costs more than a small kernel: for plain eager calls only."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_PLAIN = (Tensor, nn.Parameter)


def runs_eagerly(*tensors: Tensor | None) -> bool:
    """Whether nobody watches the operators of this call: no compiler, no trace, no mode, no transform, no subclass.

    An operator may then call its implementation itself; else it goes through ``torch.ops``, which all of them know.
    """
    return (
        not torch.compiler.is_compiling()
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._functorch.peek_interpreter_stack() is None
        and all(type(tensor) in _PLAIN for tensor in tensors if tensor is not None)
    )
