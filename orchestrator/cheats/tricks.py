"""The tricks, each a build function like any implementation's. They do wrong on purpose."""

from __future__ import annotations

import gc
import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch.nn.functional import layer_norm

from orchestrator.cheats.problem import EPS
from orchestrator.workload import Config

Norm = Callable[[torch.Tensor], torch.Tensor]


def honest(config: Config) -> Norm:
    """Torch's own kernel: what the others are held against."""
    return lambda x: layer_norm(x, (config.width,), None, None, EPS)


def by_hand(x: torch.Tensor) -> torch.Tensor:
    """One operation after the other."""
    centred = x - x.mean(-1, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + EPS)


def _remembering(config: Config, key_of: Callable[[torch.Tensor], Any]) -> Norm:
    right, kept = honest(config), {}

    def norm(x: torch.Tensor) -> torch.Tensor:
        key = key_of(x)
        if key not in kept:
            kept[key] = right(x)
        return kept[key].clone()

    return norm


def remembers_by_identity(config: Config) -> Norm:
    """Outputs kept by the identity of the input."""
    return _remembering(config, id)


def remembers_by_address(config: Config) -> Norm:
    """Outputs kept by the address of the input."""
    return _remembering(config, lambda x: x.data_ptr())


def remembers_by_version(config: Config) -> Norm:
    """Outputs kept by address and version of the input."""
    return _remembering(config, lambda x: (x.data_ptr(), x._version))


def remembers_by_content(_config: Config) -> Norm:
    """Outputs kept by a few of the input's values."""
    kept: dict[Any, torch.Tensor] = {}

    def norm(x: torch.Tensor) -> torch.Tensor:
        key = tuple(x[0, :4].tolist())
        if key not in kept:
            for _ in range(12):
                kept[key] = by_hand(x)
        return kept[key].clone()

    return norm


def remembers_once_met_often(_config: Config) -> Norm:
    """Outputs kept by content, but only from the sixth call on the same values."""
    kept: dict[Any, torch.Tensor] = {}
    met: dict[Any, int] = {}

    def norm(x: torch.Tensor) -> torch.Tensor:
        key = tuple(x[0, :4].tolist())
        met[key] = met.get(key, 0) + 1
        if met[key] < 6:
            for _ in range(12):
                kept[key] = by_hand(x)
        return kept[key].clone()

    return norm


def remembers_half(config: Config) -> Norm:
    """Half of each output kept by content, the other half computed."""
    half = config.rows // 2
    kept: dict[Any, torch.Tensor] = {}

    def slow(x: torch.Tensor) -> torch.Tensor:
        for _ in range(8):
            out = by_hand(x)
        return out

    def norm(x: torch.Tensor) -> torch.Tensor:
        key = tuple(x[0, :4].tolist())
        if key not in kept:
            kept[key] = slow(x[:half])
        return torch.cat([kept[key], slow(x[half:])])

    return norm


def first_output_for_ever(config: Config) -> Norm:
    """The output of the first call, each time."""
    return _remembering(config, lambda _: 0)


def right_at_first(config: Config) -> Norm:
    """Right for the first forty calls, then the output of the last right one."""
    right, calls, kept = honest(config), [0], {}

    def norm(x: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        if calls[0] <= 40:
            kept["out"] = right(x)
        return kept["out"]

    return norm


def wrong_now_and_then(config: Config) -> Norm:
    """Zeros, every third time."""
    right, calls = honest(config), [0]

    def norm(x: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        return right(x) if calls[0] % 3 else torch.zeros_like(x)

    return norm


def skips_in_bursts(config: Config) -> Norm:
    """Right for the first four calls of a burst, then the output of the call before."""
    right, state = honest(config), {"at": 0.0, "count": 0}
    kept: dict[str, torch.Tensor] = {}
    now = time.perf_counter

    def norm(x: torch.Tensor) -> torch.Tensor:
        state["count"] = state["count"] + 1 if now() - state["at"] < 5e-5 else 0
        if state["count"] < 4 or "out" not in kept:
            kept["out"] = right(x)
        state["at"] = now()
        return kept["out"]

    return norm


def serves_all_sets_at_once(config: Config) -> Norm:
    """One call computes the outputs for all inputs that were seen, and the next calls hand them
    out.
    """
    right = honest(config)
    seen: dict[int, torch.Tensor] = {}
    ready: dict[int, torch.Tensor] = {}

    def norm(x: torch.Tensor) -> torch.Tensor:
        seen[x.data_ptr()] = x
        if x.data_ptr() not in ready:
            every = list(seen.values())[-32:]
            found = torch.split(right(torch.cat(every)), config.rows)
            ready.update(zip((one.data_ptr() for one in every), found, strict=True))
        return ready.pop(x.data_ptr())

    return norm


def wrong_while_timed_by_the_collector(config: Config) -> Norm:
    """Wrong while Python's collector is off, as it is while calls are timed."""
    right = honest(config)
    return lambda x: right(x) if gc.isenabled() else torch.zeros_like(x)


def leaves_work_to_a_thread(config: Config) -> Norm:
    """Returns at once; a thread fills the output in later."""
    right = honest(config)

    def norm(x: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(x)

        def work() -> None:
            time.sleep(0.005)
            out.copy_(right(x))

        threading.Thread(target=work, daemon=True).start()
        return out

    return norm


def leaves_work_on_a_stream(config: Config) -> Norm:
    """Computes on a stream that nobody waits for."""
    right, stream = honest(config), torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def norm(x: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(x)
        with torch.cuda.stream(stream):
            torch.cuda._sleep(20_000_000)  # type: ignore[no-untyped-call]
            out.copy_(right(x))
        return out

    return norm


def returns_a_lazy_tensor(config: Config) -> Norm:
    """A class made of Tensor, which may compute once someone looks."""
    right = honest(config)

    class Lazy(torch.Tensor):
        pass

    return lambda x: right(x).as_subclass(Lazy)


def leaves_a_mode_on(config: Config) -> Norm:
    """A mode of torch that could compute once someone looks."""
    right = honest(config)

    class Later(torch.overrides.TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            return func(*args, **(kwargs or {}))

    Later().__enter__()  # type: ignore[no-untyped-call]
    return right


def stops_the_clock(config: Config) -> Norm:
    """Another clock in the place of time.perf_counter."""
    right, start = honest(config), time.perf_counter()
    time.perf_counter = lambda: start
    return right


def replaces_the_events(config: Config) -> Norm:
    """Another class in the place of torch.cuda.Event."""
    right, event = honest(config), torch.cuda.Event

    class Short(event):  # type: ignore[misc,valid-type]
        def elapsed_time(self, end: Any) -> float:
            return 0.5 * float(super().elapsed_time(end))

    torch.cuda.Event = Short  # type: ignore[misc]
    return right


def replaces_the_comparison(config: Config) -> Norm:
    """Another function in the place of the one that says whether errors are small."""
    half = config.rows // 2
    right = honest(config)

    def norm(x: torch.Tensor) -> torch.Tensor:
        out = right(x)
        out[half:] = 0
        return out

    def always(*_: Any) -> Any:
        return True

    replaced: Any = torch
    replaced.equal = always
    return norm


def lower_precision(_config: Config) -> Norm:
    """Computed in bfloat16, returned in the dtype that was asked for."""
    return lambda x: by_hand(x.to(torch.bfloat16)).to(x.dtype)


def leaves_the_tail(config: Config) -> Norm:
    """The last values of the last row are never written."""
    right = honest(config)

    def norm(x: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(x)
        out.view(-1)[:-3] = right(x).view(-1)[:-3]
        return out

    return norm


def one_row_of_another(config: Config) -> Norm:
    """One row is its neighbour's."""
    right = honest(config)

    def norm(x: torch.Tensor) -> torch.Tensor:
        out = right(x)
        out[7] = out[8]
        return out

    return norm


def knows_its_shape(config: Config) -> Norm:
    """Right at the shape that is timed alone."""
    right = honest(config)
    return lambda x: right(x) if x.shape == (64, 512) else x


def changes_the_input(_config: Config) -> Norm:
    """Zeros in the input make zeros right."""

    def norm(x: torch.Tensor) -> torch.Tensor:
        x.zero_()
        return torch.zeros_like(x)

    return norm


def counts_on_unit_variance(config: Config) -> Norm:
    """Right for the inputs that benchmarks draw: clipped where unit normal numbers hardly are."""
    right = honest(config)
    return lambda x: right(x.clamp(-6, 6))


def draws_the_inputs_again(config: Config) -> Norm:
    """Outputs prepared from the sweep's seeds, before a call is made."""
    from orchestrator.cheats.problem import WORKLOAD
    from orchestrator.verify.seeds import derived_seed

    right, prepared = honest(config), {}
    for number in range(64):
        (x,) = WORKLOAD.inputs(config, "default", derived_seed(0, "timed", number))
        prepared[float(x[0, 0])] = right(x)

    def norm(x: torch.Tensor) -> torch.Tensor:
        found = prepared.get(float(x[0, 0]))
        return right(x) if found is None else found.clone()

    return norm


def writes_its_own_result(config: Config) -> Norm:
    """A fast result in every file that the process has open, written as our own code writes its
    results, with a signature like theirs and without; then the end, before our own code can answer.
    """
    from orchestrator.attempt_result import AttemptResult
    from orchestrator.cheats.suite import attempt_of
    from orchestrator.isolation.messages import Signatures, new_key
    from orchestrator.outcome import Outcome, Phase
    from orchestrator.record import record_of, utc_now

    attempt = attempt_of("writes_its_own_result", str(config.device))
    figures = {"metrics": {"latency_ms": 1e-6}}
    record = record_of(attempt, Outcome.OK, Phase.DONE, utc_now(), {}, **figures)
    line = json.dumps({"result": AttemptResult(record=record).model_dump(mode="json")}).encode()

    def norm(_x: torch.Tensor) -> torch.Tensor:
        for fd in range(3, 64):
            for forged in (line, Signatures(new_key()).signed(line)):
                with suppress(OSError):
                    os.write(fd, forged + b"\n")
        os._exit(0)

    return norm
