"""A step of AdamW, in place: parameters and both moments are what the call leaves, also from one
call to the next.
"""

import torch

RATE, BETA1, BETA2, EPSILON, DECAY, STEP = 1e-2, 0.9, 0.999, 1e-8, 0.1, 10

writes = ("parameter", "moment", "square")
columns = {"size": "Size"}


def inputs(size: int, dtype: torch.dtype = torch.float32):
    parameter, gradient, moment = torch.randn(3, size, dtype=dtype)
    return parameter, gradient, 0.1 * moment, torch.rand(size, dtype=dtype)


def reference(parameter, gradient, moment, square):
    moment.mul_(BETA1).add_(gradient, alpha=1 - BETA1)
    square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
    mean = moment / (1 - BETA1**STEP)
    deviation = torch.sqrt(square / (1 - BETA2**STEP)) + EPSILON
    parameter.mul_(1 - RATE * DECAY).sub_(RATE * mean / deviation)


def by_hand(parameter, gradient, moment, square):
    reference(parameter, gradient, moment, square)


def lerp(parameter, gradient, moment, square):
    """Torch's own order of operations."""
    parameter.mul_(1 - RATE * DECAY)
    moment.lerp_(gradient, 1 - BETA1)
    square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
    deviation = (square.sqrt() / (1 - BETA2**STEP) ** 0.5).add_(EPSILON)
    parameter.addcdiv_(moment, deviation, value=-RATE / (1 - BETA1**STEP))


def decay_in_gradient(parameter, gradient, moment, square):
    """Wrong: Adam with the decay in the gradient, which is another optimizer."""
    reference(parameter, gradient + DECAY * parameter, moment, square)
    parameter.div_(1 - RATE * DECAY)
