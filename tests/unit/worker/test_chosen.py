"""Which configuration an autotuner chose is a note of the row."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from orchestrator.worker.compiling.chosen import INDUCTOR, chosen_configurations

triton = pytest.importorskip("triton")


def test_what_triton_chose_for_a_key_is_noted() -> None:
    """A kernel with a single configuration chose nothing."""
    tl = triton.language

    def kernel(x, size: tl.constexpr):
        pass

    configs = [triton.Config({"size": 64}), triton.Config({"size": 128}, num_warps=8)]
    tuned = triton.autotune(configs, key=[])(triton.jit(kernel))
    alone = triton.autotune(configs[:1], key=[])(triton.jit(kernel))
    tuned.cache[("float32",)] = configs[1]
    alone.cache[("float32",)] = configs[0]
    (note,) = [one for one in chosen_configurations() if "kernel" in one]
    assert note.startswith("autotuned: kernel ('float32',) chose size: 128, num_warps: 8")
    assert note.endswith("of 2")


def test_what_inductor_chose_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once one launcher is left of several."""

    class CachingAutotuner:
        def __init__(self, launchers: int) -> None:
            self.fn = SimpleNamespace(__name__="triton_fused_add")
            self.configs = ["a", "b"]
            self.launchers = [SimpleNamespace(config="XBLOCK: 256")] * launchers

    module = SimpleNamespace(CachingAutotuner=CachingAutotuner)
    monkeypatch.setitem(__import__("sys").modules, INDUCTOR, module)
    kept = [CachingAutotuner(1), CachingAutotuner(2)]
    notes = [one for one in chosen_configurations() if "Inductor" in one]
    assert notes == ["autotuned: Inductor's triton_fused_add chose XBLOCK: 256 of 2"]
    assert len(kept) == 2
