"""A schedule carried out: attention calls on views, merged by log-sum-exps; forward and backward.

No scores are ever held. Beyond inputs and output the forward needs the result of one call, a
running result where rows are merged, and log-sum-exps; a plan in blocks takes rows in as many
windows as keep that within `bound`. The backward pass hands each call the merged result, so that
the gradient is that of the one softmax which the merged result is; autograd never sees a slice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn.functional import pad

from ..dilated_attention.pattern import Pattern
from ..kernels import bound
from .calls import Call, Strides, Task, tasks_of
from .dense import dense_kernel
from .lanes import LANES, lanes
from .online import merge, takes_triton
from .place import fills, place
from .precision import matmul_precision
from .schedule import Window, windows
from .sdpa import Attended, Kernel, Tensors, kernel_for

CUDA_ALIGNMENT = 8  # elements: head_dim and strides must be multiples of it on CUDA

SIDE_BY_SIDE = 16  # calls at most, without a memory bound: their results are held at once

Scheduled = tuple[tuple[Window, tuple[Task, ...]], ...]


class Plan:
    """The plan for one pattern, keys in blocks of positions (None: one block, no memory bound).

    Attributes:
        whole: the schedule of whole rows.
        merges: whether any row takes several calls.
        mixes: whether heads take several branches.
        repeats: whether any key is in several calls.
        mixture: what the mixture of branches is multiplied by.
        scores: what the scores are multiplied by.
        tf32: whether products of float32 on CUDA may be in tf32.
        own: whether kernels of our own may serve its calls, beside torch's.
    """

    def __init__(
        self,
        pattern: Pattern,
        head_dim: int,
        causal: bool,
        block: int | None = None,
        *,
        tf32: bool = False,
        own: bool = True,
    ) -> None:
        self.pattern, self.block, self.causal = pattern, block, causal
        self.whole = windows(pattern, block or pattern.seq_len, causal)
        self.merges = any(window.merged for window in self.whole)
        self.mixes = any(window.mixed for window in self.whole)
        self.repeats = self.mixes or (causal and self.merges)
        self.mixture = pattern.scale
        self.scores = head_dim**-0.5
        self.head_dim = head_dim
        self.tf32, self.own = tf32, own
        self._windows: dict[Any, tuple[tuple[Window, ...], tuple[Window, ...]]] = {}
        self._front: dict[Any, tuple[Scheduled, tuple[int, ...] | None]] = {}
        self._back: dict[Any, Scheduled] = {}

    def windows(self, t: torch.Tensor, back: bool = False) -> tuple[Window, ...]:
        """The schedule for this dtype and device: within the bound, or of the backward pass."""
        if self.block is None:
            return self.whole
        key = (t.element_size(), takes_triton(t))
        if key not in self._windows:
            extents = bound.extents(self.whole, self.pattern, *key)
            cut = windows(self.pattern, self.block, self.causal, extents)
            rows = all(extent.positions == self.pattern.seq_len for extent in extents)
            self._windows[key] = (cut, cut if rows else self.whole)
        return self._windows[key][back]

    def front(self, qkv: Tensors) -> tuple[Scheduled, tuple[int, ...] | None]:
        """Windows and tasks of the forward pass for such inputs; lanes, None: one after another."""
        key = (qkv[0].is_cuda, *_layout(qkv))
        if key not in self._front:
            scheduled = self._scheduled(self.windows(qkv[0]), qkv)
            self._front[key] = scheduled, self._lanes(scheduled, qkv)
        return self._front[key]

    def back(self, qkv: Tensors) -> Scheduled:
        """Windows, all of whole rows, and tasks of the backward pass."""
        key = (qkv[0].is_cuda, *_layout(qkv))
        if key not in self._back:
            self._back[key] = self._scheduled(self.windows(qkv[0], back=True), qkv)
        return self._back[key]

    def _scheduled(self, chosen: tuple[Window, ...], qkv: Tensors) -> Scheduled:
        return tuple((window, tasks_of(window, *_layout(qkv))) for window in chosen)

    def places(self, qkv: Tensors) -> bool:
        """Whether `place` writes every byte of the gradients: one call a row, whole segments."""
        if self.merges:
            return False
        for window, tasks in self.back(qkv):
            if not window.whole:
                return False
            if not all(fills(task.place, qkv[0]) for task in tasks):
                return False
        return True

    def side_by_side(self, qkv: Tensors) -> bool:
        """Whether all calls may run at once: few, on CUDA, no two of which write the same rows."""
        count = sum(len(tasks) for _, tasks in self.back(qkv))
        return qkv[0].is_cuda and 1 < count <= SIDE_BY_SIDE and self.places(qkv)

    def _lanes(self, scheduled: Scheduled, qkv: Tensors) -> tuple[int, ...] | None:
        q = qkv[0]
        tasks: list[Task] = []
        for _, of_window in scheduled:
            tasks.extend(of_window)
        if not q.is_cuda or self.mixes or len(tasks) < 2:
            return None
        if self.block is None:
            return tuple(range(len(tasks))) if self.side_by_side(qkv) else None
        item, fused = q.element_size(), takes_triton(q)
        needs = [task.place.rows.elements * bound.held(task.depth, item, fused) for task in tasks]
        works = [task.work for task in tasks]
        return bound.assigned(needs, works, bound.budget(q.numel(), item), LANES)

    def kernel(self, near: Tensors, backward: bool = False) -> Kernel:
        """The kernel for one call's views of q, k and v, forward or backward."""
        if not self.own:
            return kernel_for(near[0], near[1], backward)
        return dense_kernel(near[0], near[1], self.head_dim, self.tf32, backward)

    def precision(self, t: torch.Tensor) -> AbstractContextManager[None]:
        """The plan's precision where it has a meaning."""
        if t.is_cuda and t.dtype == torch.float32:
            return matmul_precision(self.tf32)
        return nullcontext()


def _layout(qkv: Tensors) -> tuple[tuple[int, ...], tuple[Strides, Strides, Strides], int]:
    q, k, v = qkv
    return tuple(q.shape), (q.stride(), k.stride(), v.stride()), q.element_size()


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan: Plan) -> torch.Tensor:
    """Dilated attention of q, k, v, each (b, n, H, d); returns (b, n, H, d); differentiable."""
    head_dim = q.shape[-1]
    q, k, v = ready(q), ready(k), ready(v)
    if torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad):
        out: torch.Tensor = _Merged.apply(q, k, v, plan)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    else:
        out, _, _ = forward((q, k, v), plan)
    return out if out.shape[-1] == head_dim else out[..., :head_dim]


class _Merged(torch.autograd.Function):
    """The plan, with a gradient of its own."""

    @staticmethod
    def forward(
        ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan: Plan
    ) -> torch.Tensor:
        # the backward pass can take over the results of calls only if it makes the same calls
        parts: list[Attended] | None = [] if plan.windows(q) is plan.windows(q, back=True) else None
        ctx.keep, ctx.parts = plan.merges or parts is None, parts is not None
        out, sums, _ = forward((q, k, v), plan, keep=ctx.keep, parts=parts)
        saved = [q, k, v]
        for part in parts or ():
            saved += [part.out, part.lse]
        if ctx.keep:
            saved += [out, sums]
        ctx.save_for_backward(*saved)
        ctx.plan = plan
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, *saved = ctx.saved_tensors
        plan: Plan = ctx.plan
        out = sums = parts = None
        if ctx.keep:
            *saved, out, sums = saved
        if ctx.parts:
            parts = [Attended(*pair) for pair in zip(saved[::2], saved[1::2], strict=True)]
        found = backward(grads[0].contiguous(), (q, k, v), out, sums, plan, parts)
        return (*wanted_only(found, ctx.needs_input_grad), None)


def wanted_only(
    gradients: tuple[torch.Tensor, ...], wanted: tuple[bool, ...]
) -> list[torch.Tensor | None]:
    """The gradients of the inputs that need one, None for the others; `wanted` may be longer."""
    found: list[torch.Tensor | None] = []
    for gradient, needed in zip(gradients, wanted, strict=False):
        found.append(gradient if needed else None)
    return found


def forward(
    qkv: Tensors, plan: Plan, keep: bool = False, parts: list[Attended] | None = None
) -> tuple[torch.Tensor, torch.Tensor, list[Attended] | None]:
    """Output, log-sum-exps and parts.

    Args:
        qkv: `ready` tensors.
        plan: what to do.
        keep: fill in the log-sum-exps of all rows, (b, n, H), which rows in several calls need in
            the backward pass.
        parts: takes the results of calls that nothing is merged with, to spare the backward pass
            recovering them; only for a plan whose windows are whole.
    """
    q = qkv[0]
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    shape = q.shape[:3] if keep or plan.mixes else (0,)
    sums = torch.full(shape, -torch.inf, dtype=torch.float32, device=q.device)
    scheduled, numbers = plan.front(qkv)
    for window, tasks in scheduled:
        if not (window.mixed or window.filled or (window.whole and fills(tasks[0].place, out))):
            window.of(out).zero_()
    lane = iter(numbers or ())
    with plan.precision(q), lanes(q.device, numbers is not None) as side:
        for window, tasks in scheduled:
            if window.mixed:
                _mix(window, tasks, qkv, out, sums, plan)
                continue
            for task in tasks:
                with side.lane(next(lane, None)):
                    done = _attended(task, qkv, plan)
                    place((done.out,), (out,), task.place, plan.mixture)
                    if parts is not None and task.alone:
                        parts.append(done)
                    elif keep:
                        task.place.sums.of(sums).copy_(done.lse)
                    del done
    return out, sums, parts


def _attended(task: Task, qkv: Tensors, plan: Plan) -> Attended:
    """All calls of a task, merged in float32."""
    if task.alone:
        return _call(task.alone, qkv, plan)
    q, merged = qkv[0], None
    dtype = q.dtype
    if bound.running(task.depth, q.element_size(), takes_triton(q)) > q.element_size():
        dtype = torch.float32
    for call in task.calls:
        done = _call(call, qkv, plan)
        if call.part.rows == task.place.part.rows and call.part.begins:
            merged = Attended(done.out.to(dtype), done.lse)
            del done
            continue
        if merged is None:
            outer, heads, rows, width = task.place.rows.size
            # laid out as its place
            result = q.new_empty(outer, rows, heads, width, dtype=dtype).transpose(1, 2)
            merged = Attended(result, q.new_empty(outer, heads, rows, dtype=torch.float32))
        near = task.inner(call)
        into, total = merged.out[:, :, near], merged.lse[:, :, near]
        if call.part.begins:
            into.copy_(done.out)
            total.copy_(done.lse)
        else:
            merge(into, total, done)
        del done
    assert merged is not None
    return merged


def _call(call: Call, qkv: Tensors, plan: Plan) -> Attended:
    near: Tensors = (call.q.of(qkv[0]), call.k.of(qkv[1]), call.v.of(qkv[2]))
    return plan.kernel(near).forward(near, call.causal, plan.scores)


def _mix(
    window: Window,
    tasks: tuple[Task, ...],
    qkv: Tensors,
    out: torch.Tensor,
    sums: torch.Tensor,
    plan: Plan,
) -> None:
    """All calls of a window, merged into one running result over all of its positions."""
    q = qkv[0]
    acc, local = out, q.dtype != torch.float32
    if local:
        acc = torch.zeros(window.of(out).shape, dtype=torch.float32, device=q.device)
    else:
        window.of(out).zero_()
    for task in tasks:
        for call in task.calls:
            done = _call(call, qkv, plan)
            merge((call.local if local else call.rows).of(acc), call.sums.of(sums), done)
            del done  # before the next call, whose result takes as much memory
    if local or plan.mixture != 1:
        torch.mul(acc if local else window.of(out), plan.mixture, out=window.of(out))


def backward(
    grad: torch.Tensor,
    qkv: Tensors,
    out: torch.Tensor | None,
    sums: torch.Tensor | None,
    plan: Plan,
    parts: list[Attended] | None = None,
) -> Tensors:
    """Gradients of q, k and v; in float32 until all calls have added to them, where several do.

    Args:
        grad: of the output, contiguous.
        qkv: as the forward pass had them.
        out: the merged result; not needed if nothing was merged and the parts are here.
        sums: its log-sum-exps; likewise.
        plan: what was done.
        parts: the results of calls that nothing was merged with, in order; None: recovered from out
            and sums.
    """
    q = qkv[0]
    placed, adds = plan.places(qkv), (plan.merges, plan.repeats, plan.repeats)
    new = torch.empty if placed else torch.zeros
    targets = []
    for add in adds:
        dtype = torch.float32 if add else q.dtype
        targets.append(new(q.shape, dtype=dtype, device=q.device))
    into = tuple(targets)
    rest: Iterator[Attended] | None = None if parts is None else iter(parts)
    with plan.precision(q), lanes(q.device, plan.side_by_side(qkv)) as side:
        for window, tasks in plan.back(qkv):
            for task in tasks:
                with side.lane():
                    known = next(rest) if rest and task.alone and not window.mixed else None
                    for call, found in _slopes(task, grad, qkv, known, (out, sums), plan):
                        _give(found, into, call, adds, placed)
    dq, dk, dv = (t.to(q.dtype) for t in into)
    return dq, dk, dv


def _slopes(
    task: Task,
    grad: torch.Tensor,
    qkv: Tensors,
    known: Attended | None,
    merged: tuple[torch.Tensor | None, torch.Tensor | None],
    plan: Plan,
) -> Iterator[tuple[Call, Tensors]]:
    """Each call with its dq, dk, dv; values of rows are made once for calls on the same rows."""
    rows: Any = None
    for call in task.calls:
        near: Tensors = (call.q.of(qkv[0]), call.k.of(qkv[1]), call.v.of(qkv[2]))
        kernel = plan.kernel(near, backward=True)
        if rows != (call.part.rows, kernel):
            done = known or _recovered(call, *merged, plan.mixture)
            wanted = kernel.upstream(call.rows.of(grad), near[0], plan.mixture)
            rows = (call.part.rows, kernel)
        yield call, kernel.backward(wanted, near, done, call.causal, plan.scores)


def _give(
    found: Tensors, into: tuple[torch.Tensor, ...], call: Call, adds: tuple[bool, ...], placed: bool
) -> None:
    """One call's dq, dk and dv into the whole ones."""
    if placed:
        place(found, into, call, 1.0)
        return
    places = (call.rows, call.keys, call.keys)
    for at, target, gradient, add in zip(places, into, found, adds, strict=True):
        if add:
            at.of(target).add_(gradient)
        else:
            at.of(target).copy_(gradient)


def _recovered(
    call: Call, out: torch.Tensor | None, sums: torch.Tensor | None, mixture: float
) -> Attended:
    """The call's share of the merged result, as if one softmax had given it."""
    assert out is not None
    assert sums is not None
    result = call.rows.of(out)
    return Attended(result if mixture == 1 else result / mixture, call.sums.of(sums))


def ready(t: torch.Tensor) -> torch.Tensor:
    """The tensor with contiguous rows, on CUDA padded and aligned; copied only if it must be."""
    if t.device.type == "cuda":
        if t.shape[-1] % CUDA_ALIGNMENT:
            t = pad(t, (0, -t.shape[-1] % CUDA_ALIGNMENT))
        if t.data_ptr() % 16 or any(stride % CUDA_ALIGNMENT for stride in t.stride()[:-1]):
            return t.clone(memory_format=torch.contiguous_format)
    return t if t.stride(-1) == 1 else t.contiguous()
