"""Decode attention over a paged cache: one query a sequence, keys and values by a table of blocks,
grouped heads.
"""

import torch

BLOCK = 16

columns = {"batch": "Batch", "longest": "Longest", "heads": "Heads"}


def inputs(
    batch: int, longest: int = 128, heads: int = 8, kv_heads: int = 2, head_dim: int = 64,
    dtype: torch.dtype = torch.float32,
):  # fmt: skip
    blocks = -(-longest // BLOCK)
    query = torch.randn(batch, heads, head_dim, dtype=dtype)
    key_cache, value_cache = torch.randn(2, batch * blocks, BLOCK, kv_heads, head_dim, dtype=dtype)
    tables = torch.randperm(batch * blocks).reshape(batch, blocks)
    lengths = torch.randint(1, longest + 1, (batch,))
    return query, key_cache, value_cache, tables, lengths


def reference(query, key_cache, value_cache, tables, lengths):
    out = torch.zeros_like(query)
    group = query.shape[1] // key_cache.shape[2]
    for number, length in enumerate(lengths.tolist()):
        keys = key_cache[tables[number]].flatten(0, 1)[:length].repeat_interleave(group, dim=1)
        values = value_cache[tables[number]].flatten(0, 1)[:length].repeat_interleave(group, dim=1)
        scores = torch.einsum("hd,lhd->hl", query[number], keys) * query.shape[-1] ** -0.5
        out[number] = torch.einsum("hl,lhd->hd", torch.softmax(scores, dim=-1), values)
    return out


def _attend(query, key_cache, value_cache, tables, allowed):
    """Attention over whole blocks, under a mask (batch, keys)."""
    keys = key_cache[tables].flatten(1, 2).transpose(1, 2)
    values = value_cache[tables].flatten(1, 2).transpose(1, 2)
    out = torch.nn.functional.scaled_dot_product_attention(
        query[:, :, None], keys, values, attn_mask=allowed[:, None, None], enable_gqa=True
    )
    return out[:, :, 0]


def gathered(query, key_cache, value_cache, tables, lengths):
    positions = torch.arange(tables.shape[1] * BLOCK, device=query.device)
    return _attend(query, key_cache, value_cache, tables, positions < lengths[:, None])


def by_sequence(query, key_cache, value_cache, tables, lengths):
    return reference(query, key_cache, value_cache, tables, lengths)


def whole_blocks(query, key_cache, value_cache, tables, lengths):
    """Wrong: it attends to all of the last block, also to what lies behind the sequence's end."""
    rounded = (lengths + BLOCK - 1) // BLOCK * BLOCK
    positions = torch.arange(tables.shape[1] * BLOCK, device=query.device)
    return _attend(query, key_cache, value_cache, tables, positions < rounded[:, None])
