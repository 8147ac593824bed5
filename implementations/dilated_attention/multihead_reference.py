"""The reference of the multihead form: projections, dilated attention, LayerNorm, output
projection.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch.nn.functional import layer_norm, linear

from orchestrator.workload import Expected, Problem

from .pattern import HeadRun
from .rows import seen_by
from .softmax import Arithmetic, Unit, as_heads, attend, by_entry, gradients
from .task import Answer, Task, live_rows

INTO = ("q_proj", "k_proj", "v_proj")
OUT = ("norm.weight", "norm.bias", "out_proj.weight", "out_proj.bias")


def multihead_reference(problem: Problem, task: Task) -> Expected | Answer:
    """See `reference`: output and gradients are (batch, seq_len, heads * head_dim), one row per
    position.
    """
    layer = _Layer(
        task, {name: value.to(task.how.compute) for name, value in problem.state.items()}
    )
    inputs, upstream = problem.inputs[0], problem.upstream
    outputs = []
    for entries in task.entries(len(inputs), task.pattern.heads):
        wanted = None if upstream is None else upstream[entries, task.positions]
        outputs.append(layer.forward(inputs[entries].to(task.how.compute), wanted))
    everywhere = torch.ones_like(task.positions, dtype=torch.bool)
    answer = layer.by_position(torch.cat(outputs), task.positions, everywhere, None)
    if problem.upstream is None:
        return answer
    return {"output": answer, "grad_x": layer.grad_x(), **layer.parameter_gradients()}


@dataclass
class _Layer:
    """Parameters in the dtype that is computed in, and the gradients gathered so far.

    Attributes:
        grads: of the parameters, summed over batch entries.
        dx: of the input at the kept positions, (b, K, E) of some batch entries each.
    """

    task: Task
    params: dict[str, torch.Tensor]
    grads: dict[str, torch.Tensor] = field(default_factory=dict)
    dx: list[torch.Tensor] = field(default_factory=list)

    def forward(self, x: torch.Tensor, upstream: torch.Tensor | None) -> torch.Tensor:
        """(b, P, E) output at the positions for some batch entries (b, n, E); with upstream,
        (b, P, E), gradients are added too.
        """
        task, how, entries = self.task, self.task.how, len(x)
        shape = (entries, len(task.positions), task.pattern.heads, task.head_dim)
        merged = torch.empty(shape, dtype=x.dtype, device=x.device)
        sums = torch.empty_like(merged[..., 0])
        for run, heads in task.units():
            out, lse = attend(self._unit(x, run, heads))
            merged[:, :, heads], sums[:, :, heads] = by_entry(out, entries), by_entry(lse, entries)
        mixed = how.rounded(merged * task.pattern.scale).flatten(2)
        if upstream is None:
            return _out(mixed, self.params, how)
        output, wanted = self._out_gradients(mixed, upstream.to(x.dtype))
        wanted = wanted.view_as(merged) * task.pattern.scale
        dx = torch.zeros_like(x)
        for run, heads in task.units():
            unit = self._unit(x, run, heads)
            held = (as_heads(one[:, :, heads]) for one in (merged, sums, wanted))
            self._projection_gradients(x, dx, unit, heads, gradients(unit, *held))
        self.dx.append(how.rounded(dx[:, task.kept]))
        return output

    def _unit(self, x: torch.Tensor, run: HeadRun, heads: slice) -> Unit:
        """Q at the positions, k and v where one of those sees them (0 elsewhere, where nothing
        looks).
        """
        task, seen = self.task, self._seen(run)
        shape = (len(x), -1, heads.stop - heads.start, task.head_dim)
        projected = []
        for name, places in zip(INTO, (task.positions, seen, seen), strict=True):
            weight = self._rows(f"{name}.weight", heads)
            bias = self._rows(f"{name}.bias", heads)
            flat = _linear(x[:, places], weight, bias, task.how)
            projected.append(as_heads(flat.view(shape)))
        q, k, v = projected
        spread = k.new_zeros(2, x.shape[1], *k.shape[1:])
        spread[0, seen], spread[1, seen] = k, v
        return Unit(run, q, spread[0], spread[1], task.positions, task.how)

    def _seen(self, run: HeadRun) -> torch.Tensor:
        mask = seen_by(run, self.task.positions, self.task.pattern.seq_len, self.task.how.causal)
        return mask.nonzero().flatten()

    def _rows(self, name: str, heads: slice) -> torch.Tensor:
        return self.params[name][self._features(heads)]

    def _features(self, heads: slice) -> slice:
        return slice(heads.start * self.task.head_dim, heads.stop * self.task.head_dim)

    def _out_gradients(
        self, mixed: torch.Tensor, upstream: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The output, and the gradient of what goes into the norm; those of norm and out_proj are
        added.
        """
        with torch.enable_grad():
            leaves = {name: self.params[name].detach().requires_grad_() for name in OUT}
            mixed = mixed.detach().requires_grad_()
            output = _out(mixed, leaves, self.task.how)
            wanted, *found = torch.autograd.grad(
                (output * upstream).sum(), [mixed, *leaves.values()]
            )
        for name, grad in zip(OUT, found, strict=True):
            self._add(name, grad)
        return output.detach(), wanted

    def _projection_gradients(
        self,
        x: torch.Tensor,
        dx: torch.Tensor,
        unit: Unit,
        heads: slice,
        found: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    ) -> None:
        """Add what these heads' dq, dk and dv say about x and the projections."""
        seen = self._seen(unit.run)
        grads = (found[0], found[1][seen], found[2][seen])
        for name, grad, places in zip(INTO, grads, (unit.positions, seen, seen), strict=True):
            grad = by_entry(grad, len(x)).flatten(2)
            with torch.enable_grad():
                leaves = [
                    x[:, places],
                    self._rows(f"{name}.weight", heads),
                    self._rows(f"{name}.bias", heads),
                ]
                leaves = [leaf.detach().requires_grad_() for leaf in leaves]
                projected = _linear(leaves[0], leaves[1], leaves[2], self.task.how)
                back = torch.autograd.grad((projected * grad).sum(), leaves)
            dx[:, places] += back[0]
            self._add(f"{name}.weight", back[1], self._features(heads))
            self._add(f"{name}.bias", back[2], self._features(heads))

    def _add(self, name: str, grad: torch.Tensor, rows: slice = slice(None)) -> None:
        self.grads.setdefault(name, torch.zeros_like(self.params[name]))[rows] += grad

    def grad_x(self) -> Expected:
        """Gradient of x where some head's gradient lives; exactly 0 where no branch reads x."""
        task = self.task
        live = torch.stack(list(live_rows(task).values())).any(0).any(1)
        absent = task.absent()
        return self.by_position(
            torch.cat(self.dx),
            task.kept,
            live[task.kept],
            None if absent is None else absent.all(2),
        )

    def by_position(
        self,
        values: torch.Tensor,
        positions: torch.Tensor,
        present: torch.Tensor,
        zeros: torch.Tensor | None,
    ) -> Expected:
        """The present ones ((P,) bool) of (b, P, E); a block is a batch entry's segment of the
        shortest length.
        """
        mask = present.expand(values.shape[0], -1)
        batch, slot = mask.nonzero(as_tuple=True)
        position, finest = positions[slot], min(run.finest for run in self.task.pattern.head_runs)
        return Expected(
            values[mask],
            (batch, position),
            batch * self.task.pattern.seq_len + position // finest,
            zeros,
        )

    def parameter_gradients(self) -> dict[str, torch.Tensor | Expected]:
        """By name; a block of a projection's weight is a head."""
        slopes = {f"{letter}_proj": live.any(0) for letter, live in live_rows(self.task).items()}
        answer: dict[str, torch.Tensor | Expected] = {}
        for name, grad in self.grads.items():
            layer, _, kind = name.partition(".")
            live = slopes.get(layer, torch.ones(1, dtype=torch.bool, device=grad.device))
            if name == "k_proj.bias" or not live.any():
                continue
            stored = self.task.how.rounded(grad)
            answer[f"grad_{name}"] = (
                stored if kind == "bias" or layer == "norm" else _by_head(stored, live)
            )
        return answer


def _by_head(grad: torch.Tensor, live: torch.Tensor) -> Expected:
    """The rows of the live heads ((H,) bool) of a weight's gradient (E, E), a block per head."""
    head = torch.arange(len(grad), device=grad.device) * len(live) // len(grad)
    rows = live[head].nonzero().flatten()
    return Expected(grad[rows], (rows,), head[rows])


def _linear(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, how: Arithmetic
) -> torch.Tensor:
    return how.rounded(linear(x, weight, bias))


def _out(mixed: torch.Tensor, params: dict[str, torch.Tensor], how: Arithmetic) -> torch.Tensor:
    """LayerNorm over E, then the output projection; the yardstick's norm is torch's own in its
    dtype.
    """
    rows, weight, bias = (
        t.to(how.dtype) for t in (mixed, params["norm.weight"], params["norm.bias"])
    )
    normed = layer_norm(rows, mixed.shape[-1:], weight, bias).to(how.compute)
    return _linear(normed, params["out_proj.weight"], params["out_proj.bias"], how)
