"""A starter implementation: dense attention. Put yours in place of the body of `attention`."""

from torch.nn.functional import scaled_dot_product_attention


def build(config):
    """Called once per trial, before anything is timed; config has every param, as config.seq_len or
    config.dtype.
    """
    if config.segment_lengths != (config.seq_len,) or config.dilation_rates != (1,):
        # `unsupported`
        raise NotImplementedError(
            "one undilated segment of the whole sequence is all this computes"
        )

    def attention(q, k, v):  # (batch, seq_len, heads, head_dim) each; returns the same shape
        # without this, attention would run across the heads
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return scaled_dot_product_attention(q, k, v, is_causal=config.causal).transpose(1, 2)

    return attention
