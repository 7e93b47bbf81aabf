"""Integer spike attention on CUDA: two kernels of int8 products, both exact.

The first adds up the memory k^T v [d, e] in int32; where heads are few, several programs share the tokens of one and
add their parts atomically, which is exact and the same in every order. The second streams q against it: tensor cores
take int8, so the memory is split into balanced digits of base 256 (-128..127), one product a digit, shifted and added.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

TOKENS = 64
PROGRAMS = 264
"""Two for each multiprocessor of an H100."""


@triton.jit
def _memory(
    k, v, memory, H, N,
    k_batch, k_head, k_token, v_batch, v_head, v_token,
    KEYS: tl.constexpr, VALUES: tl.constexpr, SPLITS: tl.constexpr,
    BT: tl.constexpr, BD: tl.constexpr, BE: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(0)
    e_blocks: tl.constexpr = (VALUES + BE - 1) // BE
    keys = tl.program_id(1) // e_blocks * BD + tl.arange(0, BD)
    values = tl.program_id(1) % e_blocks * BE + tl.arange(0, BE)
    batch, h = (head // H).to(tl.int64), (head % H).to(tl.int64)
    k += batch * k_batch + h * k_head
    v += batch * v_batch + h * v_head
    acc = tl.zeros((BD, BE), tl.int32)
    blocks = tl.cdiv(N, BT)
    for block in range(tl.program_id(2), blocks, SPLITS):
        tokens = block * BT + tl.arange(0, BT)
        there = (tokens < N)[:, None]
        place = tokens[:, None].to(tl.int64)
        x = tl.load(
            k + place * k_token + keys[None, :], mask=there & (keys < KEYS)[None, :], other=0
        )
        y = tl.load(
            v + place * v_token + values[None, :], mask=there & (values < VALUES)[None, :], other=0
        )
        acc = tl.dot(tl.trans(x), y, acc, out_dtype=tl.int32)
    inside = (keys < KEYS)[:, None] & (values < VALUES)[None, :]
    target = memory + head.to(tl.int64) * KEYS * VALUES + keys[:, None] * VALUES + values[None, :]
    if SPLITS == 1:
        tl.store(target, acc, mask=inside)
    else:
        tl.atomic_add(target, acc, mask=inside, sem="relaxed")


@triton.jit
def _stream(
    q, memory, out, H, N, q_batch, q_head, q_token,
    KEYS: tl.constexpr, VALUES: tl.constexpr, DIGITS: tl.constexpr,
    BT: tl.constexpr, BD: tl.constexpr, BE: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(0)
    tokens = tl.program_id(1) * BT + tl.arange(0, BT)
    values = tl.program_id(2) * BE + tl.arange(0, BE)
    batch, h = (head // H).to(tl.int64), (head % H).to(tl.int64)
    rows = q + batch * q_batch + h * q_head + tokens[:, None].to(tl.int64) * q_token
    memory += head.to(tl.int64) * KEYS * VALUES
    acc = tl.zeros((BT, BE), tl.int32)
    for first in range(0, KEYS, BD):
        keys = first + tl.arange(0, BD)
        x = tl.load(
            rows + keys[None, :], mask=(tokens < N)[:, None] & (keys < KEYS)[None, :], other=0
        )
        inside = (keys < KEYS)[:, None] & (values < VALUES)[None, :]
        rest = tl.load(memory + keys[:, None] * VALUES + values[None, :], mask=inside, other=0)
        for i in tl.static_range(DIGITS):
            digit = ((rest + 128) & 255) - 128
            rest = (rest - digit) >> 8
            acc += tl.dot(x, digit.to(tl.int8), out_dtype=tl.int32) << (8 * i)
    target = out + (head.to(tl.int64) * N + tokens[:, None]) * VALUES + values[None, :]
    tl.store(target, acc, mask=(tokens < N)[:, None] & (values < VALUES)[None, :])


def digits_of(largest: int) -> int:
    """Balanced base-256 digits that hold 0..largest.

    Example:
        >>> digits_of(127), digits_of(128), digits_of(32639), digits_of(32640)
        (1, 2, 2, 3)
    """
    digits, reach = 1, 127
    while reach < largest:
        digits, reach = digits + 1, reach * 256 + 127
    return digits


def _signed(x: Tensor) -> Tensor:
    return (x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()).view(torch.int8)


def attention(q: Tensor, k: Tensor, v: Tensor, count_levels: int) -> Tensor:
    """q, k uint8 [B, H, N, d], v uint8 [B, H, N, e] of counts up to 127 to int32 [B, H, N, e]."""
    batch, heads, tokens, keys = q.shape
    values = v.shape[-1]
    out = q.new_empty((batch, heads, tokens, values), dtype=torch.int32)
    if out.numel() == 0 or keys == 0:
        return out.zero_()
    q, k, v = _signed(q), _signed(k), _signed(v)
    bd = min(128, max(32, triton.next_power_of_2(keys)))
    be = min(128, max(32, triton.next_power_of_2(values)))
    groups, blocks = batch * heads, triton.cdiv(keys, bd) * triton.cdiv(values, be)
    token_blocks = triton.cdiv(tokens, TOKENS)
    splits = max(1, min(PROGRAMS // (groups * blocks), token_blocks))
    memory = q.new_zeros((groups, keys, values), dtype=torch.int32)
    _memory[(groups, blocks, splits)](
        k, v, memory, heads, tokens, *k.stride()[:3], *v.stride()[:3],
        KEYS=keys, VALUES=values, SPLITS=splits, BT=TOKENS, BD=bd, BE=be,
        num_warps=8 if bd * be > 4096 else 4, num_stages=3,
    )  # fmt: skip
    _stream[(groups, token_blocks, triton.cdiv(values, be))](
        q, memory, out, heads, tokens, *q.stride()[:3],
        KEYS=keys, VALUES=values, DIGITS=digits_of(tokens * count_levels**2),
        BT=TOKENS, BD=bd, BE=be, num_warps=4, num_stages=2,
    )  # fmt: skip
    return out
