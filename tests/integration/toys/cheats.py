"""Attention within segments, as a user would write it, and every way we know to look right or fast
without being it.
"""

import gc
import threading
import time

import torch
from torch.nn.functional import scaled_dot_product_attention


def honest(config):
    """Softmax attention within segments of segment_lengths[0], at rate 1."""
    length = config.segment_lengths[0]

    def attention(q, k, v):
        shape = q.shape
        q, k, v = (tensor.reshape(-1, length, *shape[2:]).transpose(1, 2) for tensor in (q, k, v))
        return (
            scaled_dot_product_attention(q, k, v, is_causal=config.causal)
            .transpose(1, 2)
            .reshape(shape)
        )

    return attention


def remembers_its_first_answer(config):
    right, answers = honest(config), []

    def attention(q, k, v):
        if not answers:
            answers.append(right(q, k, v))
        return answers[0]

    return attention


def remembers_answers_by_tensor(config):
    """Right for tensors it has not met, and for those it has as long as nobody writes into them."""
    right, answers, alive = honest(config), {}, []

    def attention(q, k, v):
        key = (id(q), q.data_ptr(), q._version)
        if key not in answers:
            alive.append(q)
            answers[key] = right(q, k, v)
        return answers[key]

    return attention


def remembers_answers_by_value(config):
    """Right for whatever it is given, and slow, but only for values that it has not met."""
    right, answers = honest(config), {}

    def attention(q, k, v):
        key = tuple(q.flatten()[:8].tolist())
        if key not in answers:
            for _ in range(20):
                answers[key] = right(q, k, v)
        return answers[key].clone()

    return attention


def remembers_answers_it_has_met_often(config):
    """Right and slow, until it has met the same values for the sixth time."""
    right, answers, met = honest(config), {}, {}

    def attention(q, k, v):
        key = tuple(q.flatten()[:8].tolist())
        met[key] = met.get(key, 0) + 1
        if met[key] < 6:
            for _ in range(6):
                answers[key] = right(q, k, v)
        return answers[key].clone()

    return attention


def is_wrong_while_garbage_is_not_collected(config):
    """As it is while calls are timed, lest it strike in the middle of one."""
    right = honest(config)

    def attention(q, k, v):
        return right(q, k, v) if gc.isenabled() else torch.full_like(q, float("nan"))

    return attention


def is_wrong_every_third_time(config):
    right, calls = honest(config), []

    def attention(q, k, v):
        calls.append(1)
        return right(q, k, v) if len(calls) % 3 else torch.zeros_like(q)

    return attention


def writes_into_its_input(config):
    right = honest(config)

    def attention(q, k, v):
        out = right(q, k, v)
        k.mul_(1.01)
        return out

    return attention


def writes_into_its_input_once_it_is_timed(config):
    right, calls = honest(config), []

    def attention(q, k, v):
        calls.append(1)
        out = right(q, k, v)
        if len(calls) > 13:
            v.add_(1e-3)
        return out

    return attention


def returns_before_it_is_done(config):
    """What a side stream that nobody waits for is on a GPU."""
    right = honest(config)

    def attention(q, k, v):
        out = torch.zeros_like(q)

        def later():
            answer = right(q, k, v)
            time.sleep(0.02)
            out.copy_(answer)

        threading.Thread(target=later, daemon=True).start()
        return out

    return attention


def leaves_nan(config):
    right = honest(config)

    def attention(q, k, v):
        out = right(q, k, v)
        out[-1, -1, -1, -1] = float("nan")
        return out

    return attention


def swaps_batch_entries(config):
    right = honest(config)
    return lambda q, k, v: right(q, k, v).flip(0)


def never_computes_the_last_head(config):
    right = honest(config)

    def attention(q, k, v):
        out = torch.empty_like(q)
        out[:, :, :-1] = right(q[:, :, :-1], k[:, :, :-1], v[:, :, :-1])
        return out

    return attention


def scales_by_two_thousandths_too_much(config):
    right = honest(config)
    return lambda q, k, v: 1.002 * right(q, k, v)


def one_wrong_row(config):
    right = honest(config)

    def attention(q, k, v):
        out = right(q, k, v)
        middle = out.shape[1] // 2
        out[0, middle, 0] = out[0, middle + 1, 0]
        return out

    return attention


def sees_the_future(config):
    """Causal in name only."""
    length = config.segment_lengths[0]

    def attention(q, k, v):
        shape = q.shape
        q, k, v = (tensor.reshape(-1, length, *shape[2:]).transpose(1, 2) for tensor in (q, k, v))
        return scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(shape)

    return attention


def attends_across_heads(config):
    """The seed's: without the transpose heads take the place of positions."""
    return lambda q, k, v: scaled_dot_product_attention(q, k, v)


def averages_the_values(config):
    """Passes where inputs are so small that every softmax is flat."""
    return lambda q, k, v: v.mean(1, keepdim=True).expand_as(q).contiguous()
