"""Hypothesis strategies for sweeps, expressions, records and clusters."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import strategies as st

from orchestrator.executors.placement import Node
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import ErrorInfo, Fingerprint, TrialRecord

slugs = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,20}\Z")
finite = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-(2**63) + 1, 2**63 - 1)
text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
scalars = st.none() | st.booleans() | integers | finite | text
values = scalars | st.lists(scalars, max_size=3)
hashes = st.text("0123456789abcdef", min_size=16, max_size=16)

batches = st.lists(st.integers(1, 64), min_size=1, max_size=4, unique=True)
seq_lens = st.lists(st.sampled_from([16, 32, 64, 128, 256]), min_size=1, max_size=4, unique=True)
head_counts = st.lists(st.integers(2, 32), min_size=1, max_size=4, unique=True)
labels = st.lists(slugs, min_size=1, max_size=3, unique=True)


@st.composite
def attention_sweeps(draw: st.DrawFn) -> dict[str, Any]:
    """Valid sweep files of dilated attention, as data: axes in any order, some excluded."""
    axes = {"batch": draw(batches), "seq_len": draw(seq_lens), "heads": draw(head_counts)}
    order = draw(st.permutations(list(axes)))
    return {
        "name": draw(slugs),
        "workload": "dilated_attention",
        "implementations": [{"use": "standard", "label": label} for label in draw(labels)],
        "axes": {name: axes[name] for name in order},
        "constants": {"segment_lengths": ["seq_len // 2", "seq_len"], "dilation_rates": [1, 2]},
        "exclude": draw(
            st.lists(
                st.sampled_from(["heads > 8", "batch == 1", "seq_len < 64 and heads < 4"]),
                max_size=2,
            )
        ),
        "seed": draw(st.integers(0, 2**63 - 1)),
    }


@st.composite
def arithmetic(draw: st.DrawFn) -> str:
    """Expressions over a, b and c that Python's own arithmetic can check; numbers stay small."""
    leaves = st.sampled_from(["a", "b", "c"]) | st.integers(1, 9).map(str)
    return draw(
        st.recursive(
            leaves,
            lambda inner: st.tuples(
                inner, st.sampled_from(["+", "-", "*", "//", "%", "/"]), inner
            ).map(lambda parts: f"({' '.join(parts)})"),
            max_leaves=8,
        )
    )


@st.composite
def records(draw: st.DrawFn) -> TrialRecord:
    """Records as workers make them, ok and otherwise."""
    outcome = draw(st.sampled_from(Outcome))
    is_ok = outcome is Outcome.OK
    error = None if is_ok else ErrorInfo.of(draw(text), draw(text), draw(st.none() | text))
    return TrialRecord(
        sweep_id=draw(slugs),
        trial_id=draw(hashes),
        implementation=draw(text),
        params=draw(st.dictionaries(slugs, values, max_size=4)),
        options=draw(st.dictionaries(slugs, values, max_size=2)),
        round=draw(st.integers(1, 5)),
        attempt=draw(st.integers(1, 5)),
        outcome=outcome,
        phase=draw(st.sampled_from(Phase)),
        flags=tuple(draw(st.lists(slugs, max_size=2))),
        error=error,
        metrics=draw(st.dictionaries(slugs, finite | st.none(), max_size=4)) if is_ok else None,
        values_ms=tuple(draw(st.lists(finite, max_size=5))) if is_ok else None,
        fingerprint=Fingerprint(
            source=draw(hashes), environment=draw(hashes), protocol=draw(hashes)
        ),
        started_at="2026-11-22T09:30:00.000+00:00",
        finished_at="2026-11-22T09:30:01.000+00:00",
        environment=draw(st.dictionaries(slugs, values, max_size=2)),
    )


@st.composite
def clusters(draw: st.DrawFn) -> list[Node]:
    """Up to five nodes, some without GPUs, some (a head node) without cores for us."""
    sizes = draw(st.lists(st.tuples(st.integers(0, 64), st.integers(0, 8)), max_size=5))
    return [
        Node(f"n{at}", f"10.0.0.{at}", cpus, gpus)
        for (cpus, gpus), at in zip(sizes, itertools.count(), strict=False)
    ]
