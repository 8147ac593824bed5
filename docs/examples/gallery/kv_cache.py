"""Append new keys and values to a paged cache, in place, at slots that an input gives."""

import torch

writes = ("key_cache", "value_cache")
columns = {"tokens": "Tokens", "blocks": "Blocks"}


def inputs(
    tokens: int, blocks: int = 64, block: int = 16, heads: int = 4, head_dim: int = 64,
    dtype: torch.dtype = torch.float32,
):  # fmt: skip
    key, value = torch.randn(2, tokens, heads, head_dim, dtype=dtype)
    key_cache, value_cache = torch.randn(2, blocks, block, heads, head_dim, dtype=dtype)
    slots = torch.randperm(blocks * block)[:tokens]
    return key, value, key_cache, value_cache, slots


def reference(key, value, key_cache, value_cache, slots):
    for token, slot in enumerate(slots.tolist()):
        key_cache[slot // key_cache.shape[1], slot % key_cache.shape[1]] = key[token]
        value_cache[slot // key_cache.shape[1], slot % key_cache.shape[1]] = value[token]


def index_copy(key, value, key_cache, value_cache, slots):
    key_cache.flatten(0, 1).index_copy_(0, slots, key)
    value_cache.flatten(0, 1).index_copy_(0, slots, value)


def indexed(key, value, key_cache, value_cache, slots):
    block = torch.div(slots, key_cache.shape[1], rounding_mode="floor")
    within = slots % key_cache.shape[1]
    key_cache[block, within] = key
    value_cache[block, within] = value


def last_token_lost(key, value, key_cache, value_cache, slots):
    """Wrong: the last token is not written."""
    index_copy(key[:-1], value[:-1], key_cache, value_cache, slots[:-1])
