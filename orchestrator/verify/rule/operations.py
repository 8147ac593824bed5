"""What torch's operations do to rounding errors: which compute, which only move values, and how
many terms they sum.

Names are those of the dispatcher, without the underscore of the in-place form. A name that is not
listed counts as one that computes: a new operation of torch makes the noise larger, never silent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch._ops import OpOverload


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


MOVES = _names("""
    _assert_async _conj _conj_physical _copy_from _fused_moving_avg_obs_fq_helper
    _local_scalar_dense _neg_view _pin_memory _reshape_alias _resize_output _spdiags _to_copy
    _to_dense _unique2 _unsafe_index _unsafe_view abs adaptive_max_pool2d adaptive_max_pool3d
    alias amax amin aminmax any arange argsort
    as_strided as_strided_scatter bernoulli block_diag broadcast_tensors bucketize
    cartesian_prod cat ceil channel_shuffle chunk clamp clamp_max clamp_min clone complex conj
    conj_physical constant_pad_nd copy copysign cummax cummin detach diag diag_embed diagonal
    diagonal_scatter embedding empty empty_like empty_permuted empty_strided expand exponential
    eye fill flip floor fmax fmin frac frexp full full_like gather geometric hardshrink hardtanh
    hardtanh_backward heaviside hstack
    im2col imag index index_copy index_fill index_select isfinite kthvalue lift lift_fresh
    lift_fresh_copy linspace log_normal logspace masked_fill masked_scatter masked_select max
    max_pool1d max_pool2d max_pool2d_with_indices max_pool3d_with_indices maximum median min
    minimum mode movedim multinomial nan_to_num nanmedian narrow neg new_empty new_empty_strided
    new_full new_ones new_zeros nextafter normal ones ones_like permute pixel_shuffle
    pixel_unshuffle positive put rand rand_like randint randint_like randn randn_like random
    randperm real reflection_pad1d reflection_pad2d reflection_pad3d relu repeat
    repeat_interleave replication_pad1d replication_pad2d replication_pad3d resize resize_as
    roll rot90 round scalar_tensor scatter select select_backward select_scatter set sgn sign
    slice slice_backward slice_scatter sort split squeeze stack swapaxes t take take_along_dim
    threshold threshold_backward tile topk transpose tril tril_indices triu triu_indices trunc
    unbind unfold uniform unique_consecutive unique_dim unsafe_chunk unsafe_split unsqueeze
    upsample_nearest1d upsample_nearest2d upsample_nearest3d view view_as_complex view_as_real
    where zero zeros zeros_like
    """)

APPROXIMATED = _names("""
    _log_softmax _logcumsumexp _softmax acos acosh asin asinh atan atan2 atanh celu cos cosh digamma
    elu erf erfc erfinv exp exp2 expm1 gelu gelu_backward glu hypot i0 igamma igammac lgamma log
    log10 log1p log2 log_sigmoid_forward logaddexp logaddexp2 logcumsumexp logit logsumexp mish
    mvlgamma polar polygamma pow reciprocal rsqrt selu sigmoid silu silu_backward sin sinc sinh
    softplus special_airy_ai special_bessel_j0 special_bessel_j1 special_bessel_y0
    special_bessel_y1 special_erfcx special_i0e special_i1 special_i1e special_log_ndtr
    special_modified_bessel_i0 special_modified_bessel_i1 special_modified_bessel_k0
    special_modified_bessel_k1 special_ndtri special_scaled_modified_bessel_k0
    special_scaled_modified_bessel_k1 special_spherical_bessel_j0 special_xlog1py special_zeta sqrt
    tan tanh xlogy
    """)

# of equal values they may name any, unless asked to be stable; argmax and max name the first
OPEN_TIES = _names("kthvalue median mode nanmedian sort topk")

# of whole numbers their result is whole, and exact up to 1 / u
OF_WHOLE_NUMBERS = _names("add sub rsub mul sum cumsum mm bmm addmm baddbmm mv dot")

# which name the first of equal values: what is written by hand may name any, unless inputs of its
# own tell the two apart
FIRST_OF_TIES = OPEN_TIES - {"sort"} | _names("""
    adaptive_max_pool2d adaptive_max_pool3d aminmax argmax argmin cummax cummin
    fractional_max_pool2d fractional_max_pool3d max max_pool2d_with_indices max_pool3d_with_indices
    min
    """)

# several operations in one: an implementation may round after each
COMPOSED = _names("""
    _log_softmax _log_softmax_backward_data _softmax _softmax_backward_data binary_cross_entropy
    cudnn_batch_norm gelu gelu_backward huber_loss log_sigmoid_forward log_sigmoid_backward
    logsumexp mish mish_backward mse_loss mse_loss_backward native_batch_norm
    native_batch_norm_backward native_group_norm native_group_norm_backward native_layer_norm
    native_layer_norm_backward renorm silu silu_backward smooth_l1_loss softplus softplus_backward
    std std_mean upsample_bicubic2d upsample_bicubic2d_backward upsample_bilinear2d
    upsample_bilinear2d_backward upsample_trilinear3d upsample_trilinear3d_backward
    _upsample_bicubic2d_aa _upsample_bilinear2d_aa var var_mean
    """)

# Which interpolate between neighbours, at places that are rounded, too: of index 300 by 300 units
RESAMPLED = (
    "upsample_linear", "upsample_bilinear", "upsample_bicubic", "upsample_trilinear",
    "_upsample_bilinear", "_upsample_bicubic",
)  # fmt: skip
# The same at places that are given between -1 and 1: which argument has them
PLACES = {
    "grid_sampler_2d": 1,
    "grid_sampler_3d": 1,
    "grid_sampler_2d_backward": 2,
    "grid_sampler_3d_backward": 2,
}
# From one side of some value to the other they jump, so that rounding before them decides
JUMPS = _names("""
    ceil fake_quantize_per_channel_affine_cachemask fake_quantize_per_tensor_affine_cachemask
    floor floor_divide fmod frac ge gt le lt remainder round sgn sign trunc
    """)

_PRODUCTS = _names("mm bmm addmm baddbmm addbmm mv addmv dot vdot _addmm_activation _int_mm")
_CONVOLUTIONS = _names("convolution convolution_overrideable conv2d mkldnn_convolution")
_REDUCTIONS = _names("""
    mean nansum norm prod std std_mean sum trace var var_mean linalg_vector_norm avg_pool1d
    avg_pool2d avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d mse_loss binary_cross_entropy
    smooth_l1_loss huber_loss nll_loss_forward
    """)
# which sum squares where they cannot be seen
OF_SQUARES = _names(
    """
    _cdist_forward linalg_vector_norm mse_loss native_batch_norm native_group_norm native_layer_norm
    norm std std_mean var var_mean
    """
)
_SCANS = _names("cumsum cumprod _cumsum logcumsumexp _logcumsumexp")
_NORMS = _names("native_layer_norm native_group_norm native_batch_norm native_layer_norm_backward")
_SOFTMAX = _names(
    "_softmax _log_softmax logsumexp _softmax_backward_data _log_softmax_backward_data"
)
_TRANSFORMS = _names("_fft_c2c _fft_r2c _fft_c2r")
_SCATTERS = _names(
    "scatter_add index_add scatter_reduce index_put index_reduce embedding_dense_backward "
    "segment_reduce _unsafe_masked_index_put_accumulate _unsafe_index_put"
)
_LINEAR_ALGEBRA = (
    "linalg_",
    "_linalg_",
    "cholesky",
    "lu_",
    "triangular_solve",
    "ormqr",
    "geqrf",
    "lstsq",
)

_SOLVERS = _names(
    """
    _cdist_forward _linalg_det _linalg_eigh _linalg_slogdet _linalg_solve_ex _linalg_svd
    cholesky_inverse cholesky_solve geqrf linalg_cholesky_ex linalg_eig linalg_householder_product
    linalg_inv_ex linalg_ldl_factor_ex linalg_ldl_solve linalg_lstsq linalg_lu
    linalg_lu_factor_ex linalg_lu_solve linalg_matrix_exp linalg_pinv linalg_qr
    linalg_solve_triangular ormqr triangular_solve
    """
)

# Decompositions that no finite number of steps gives: a sweep rounds every element once a column.
# An exponential is squared as often as it was halved, and each square doubles the error.
SWEEPS, SQUARINGS = 10.0, 4
_ITERATED = dict.fromkeys(_names("_linalg_eigh _linalg_svd linalg_eig linalg_pinv"), SWEEPS)
_ITERATED["linalg_matrix_exp"] = 4.0**SQUARINGS

# Whose operands are jittered, too: what a sequential accumulator loses is relative to the terms,
# not to their sum.
CONTRACTIONS = (
    _PRODUCTS
    | _CONVOLUTIONS
    | _REDUCTIONS
    | _SCANS
    | _NORMS
    | _TRANSFORMS
    | _SOLVERS
    | {"convolution_backward", "upsample_bicubic2d", "_upsample_bicubic2d_aa", *PLACES}
)


def _layer_norm(
    values: torch.Tensor,
    shape: Sequence[int],
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    dims = list(range(values.ndim - len(shape), values.ndim))
    mean = values.mean(dims, keepdim=True)
    centred = values - mean
    rstd = torch.rsqrt((centred * centred).mean(dims, keepdim=True) + eps)
    out = centred * rstd
    if weight is not None:
        out = out * weight
    return (out if bias is None else out + bias), mean, rstd


def _group_norm(
    values: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    n: int,
    channels: int,
    _size: int,
    groups: int,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    out, mean, rstd = _layer_norm(
        values.reshape(n, groups, -1), [values.numel() // (n * groups)], None, None, eps
    )
    per_channel = (1, channels, *[1] * (values.ndim - 2))
    out = out.view(values.shape)
    if weight is not None:
        out = out * weight.view(per_channel)
    if bias is not None:
        out = out + bias.view(per_channel)
    return out, mean.view(n, groups), rstd.view(n, groups)


def _batch_norm(
    values: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    dims = [dim for dim in range(values.ndim) if dim != 1]
    per_channel = (1, -1, *[1] * (values.ndim - 2))
    if training or running_mean is None or running_var is None:
        mean = values.mean(dims)
        var = (values - mean.view(per_channel)).square().mean(dims)
        if running_mean is not None:
            running_mean.mul_(1 - momentum).add_(mean * momentum)
        if running_var is not None:
            count = values.numel() / max(1, mean.numel())
            running_var.mul_(1 - momentum).add_(var * momentum * count / max(1.0, count - 1))
    else:
        mean, var = running_mean, running_var
    rstd = torch.rsqrt(var + eps)
    out = (values - mean.view(per_channel)) * rstd.view(per_channel)
    if weight is not None:
        out = out * weight.view(per_channel)
    out = out if bias is None else out + bias.view(per_channel)
    return (out, mean, rstd) if training else (out, mean.new_empty(0), mean.new_empty(0))


# Fused operations taken apart, so that what many rows share (a variance near 1) errs as it would by
# itself.
DECOMPOSED: dict[str, Callable[..., Any]] = {
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    "native_batch_norm": _batch_norm,
}


def name_of(func: OpOverload) -> str:
    """The operation's name, the same for its in-place form: "add" for aten::add_."""
    name = func._schema.name.rpartition("::")[2]
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


def is_move(name: str, func: OpOverload, args: Sequence[Any]) -> bool:
    """Whether an operation only makes, views, moves or selects values, or rounds them to a grid."""
    if name in ("abs", "sgn") and isinstance(args[0], torch.Tensor) and args[0].is_complex():
        return False
    if func.is_view or name in MOVES or name.endswith("_copy"):
        return True
    if name == "index_put" or name == "_index_put_impl":
        return not (len(args) > 3 and args[3])  # unless it accumulates
    if name in ("scatter_reduce", "index_reduce"):
        return bool({"amax", "amin"} & {arg for arg in args[3:] if isinstance(arg, str)})
    return False


def jumps(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether an operation's result jumps where floating-point operands pass some value."""
    if name != "div" and name not in JUMPS:
        return False
    if name == "div" and kwargs.get("rounding_mode") is None:
        return False
    return any(isinstance(arg, torch.Tensor) and arg.is_floating_point() for arg in args)


def growth(name: str, args: Sequence[Any]) -> float:
    """How many terms the sums of an operation have, K; 1 where it sums none."""
    sizes = [arg.shape for arg in args if isinstance(arg, torch.Tensor)]
    if not sizes:
        return 1.0
    if name in _PRODUCTS:
        return float(sizes[-1][0] if len(sizes[-1]) < 3 else sizes[-1][1])
    if name in _CONVOLUTIONS:
        return math.prod(sizes[1]) / max(1, sizes[1][0])
    if name == "convolution_backward":  # of the weight: a sum over the batch and all places
        return math.prod(sizes[0]) / max(1, sizes[0][1])
    if name in _REDUCTIONS:
        return _reduced(sizes[0], args)
    if name in _SCANS:
        return float(_size(sizes[0], args[1] if len(args) > 1 else -1))
    if name in _SOFTMAX:
        return float(_size(sizes[0], next((arg for arg in args[1:] if isinstance(arg, int)), -1)))
    if name in _NORMS:
        return _normalized(name, sizes, args)
    if name in _TRANSFORMS:
        return math.sqrt(math.prod(sizes[0][dim] for dim in args[1]))
    if name.startswith(RESAMPLED) or name in PLACES:
        cubic = "bicubic" in name or (name == "grid_sampler_2d" and args[2] == 2)
        return float((4 if cubic else 2) ** (len(sizes[0]) - 2))
    if name in ("_ctc_loss", "_ctc_loss_backward"):
        # steps in logarithms, each of which errs by a unit of the sum so far: of the gradient, an
        # exponential of them, that is the relative error
        index = 1 if name == "_ctc_loss_backward" else 0
        return float(sizes[index][0]) ** (3 if index else 1)
    if name in _SCATTERS:
        return 4 * max(1.0, math.prod(sizes[-1]) / max(1, math.prod(sizes[0])))
    if name == "_cdist_forward" or name.startswith(_LINEAR_ALGEBRA):
        size = float(sizes[0][-1]) if sizes[0] else 1.0
        return size * _ITERATED.get(name, 1.0)
    return 1.0


def _reduced(size: Sequence[int], args: Sequence[Any]) -> float:
    """How many values one value of a reduction is made of."""
    dims = next((arg for arg in args[1:] if isinstance(arg, list | tuple)), None)
    if dims is None:
        dims = [arg for arg in args[1:2] if isinstance(arg, int) and not isinstance(arg, bool)]
    if not dims:
        return float(math.prod(size))
    if any(not isinstance(dim, int) for dim in dims):
        return 1.0
    return float(math.prod(_size(size, dim) for dim in dims))


def _normalized(name: str, sizes: Sequence[Sequence[int]], args: Sequence[Any]) -> float:
    """How many values share a mean."""
    shape = next((arg for arg in args[1:] if isinstance(arg, list | tuple)), None)
    if name.startswith("native_layer_norm") and shape:
        return float(math.prod(shape))
    if name == "native_group_norm":
        return math.prod(sizes[0]) / max(1, sizes[0][0] * int(args[6]))
    return math.prod(sizes[0]) / max(1, sizes[0][1] if len(sizes[0]) > 1 else 1)


def _size(size: Sequence[int], dim: Any) -> int:
    """The size of one dimension; of the whole where there is no such dimension."""
    if not size:
        return 1
    if isinstance(dim, int) and -len(size) <= dim < len(size):
        return size[dim]
    return math.prod(size)


def results_of(
    func: OpOverload, args: Sequence[Any], kwargs: dict[str, Any], result: Any
) -> Iterator[torch.Tensor]:
    """The floating-point tensors that an operation computed: returned, or written in place."""
    if func._schema.is_mutable:
        named = zip(func._schema.arguments, args, strict=False)
        found = [value for argument, value in named if _is_written(argument)]
        found += [
            kwargs[argument.name]
            for argument in func._schema.arguments
            if _is_given(argument, kwargs)
        ]
        result = found
    for value in _flat(result):
        if isinstance(value, torch.Tensor) and (
            value.dtype.is_floating_point or value.is_complex()
        ):
            yield value


def _is_written(argument: Any) -> bool:
    return argument.alias_info is not None and argument.alias_info.is_write


def _is_given(argument: Any, kwargs: dict[str, Any]) -> bool:
    return _is_written(argument) and argument.kwarg_only and argument.name in kwargs


def _flat(values: Any) -> Iterator[Any]:
    if isinstance(values, list | tuple):
        for value in values:
            yield from _flat(value)
    else:
        yield values
