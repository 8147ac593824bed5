"""--rerun in words, by outcomes and as an expression; a slip is refused with what was meant."""

from __future__ import annotations

import pytest

from orchestrator.driver.rerun import RerunRule
from orchestrator.errors import RequestError
from orchestrator.outcome import Outcome

NAMES = ["batch", "heads", "implementation"]
LABELS = ["my_attention", "standard"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("faild", "did you mean 'failed'"),
        ("mismtach", "did you mean 'mismatch'"),
        ("standard", "that is an implementation: write \"implementation == 'standard'\""),
        ("nonsense", "use failed, stale, all, an outcome, or an expression"),
        (
            "implementation == 'my_atention'",
            "no implementation is 'my_atention' (did you mean 'my_attention'?)",
        ),
        ("outcome == 'faild'", "no outcome is 'faild' (did you mean 'failed'?)"),
        ("outcome == failed", "quote it, outcome == 'failed'"),
        ("heads = 8", "= assigns; compare with =="),
        ("haeds == 8", "did you mean 'heads'"),
    ],
)
def test_a_slip_is_refused_with_what_was_meant(text: str, said: str) -> None:
    """Before anything starts: a rule that chooses nothing would run nothing, and not say so."""
    with pytest.raises(RequestError) as caught:
        RerunRule.of(text, NAMES, LABELS)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("failed", {Outcome.FAILED, Outcome.MISMATCH, Outcome.OOM}),
        ("all", {Outcome.OK, Outcome.FAILED, Outcome.MISMATCH, Outcome.OOM}),
        ("mismatch", {Outcome.MISMATCH}),
        ("mismatch, oom", {Outcome.MISMATCH, Outcome.OOM}),
        ("outcome == 'oom' or heads == 9", {Outcome.OOM}),
        ("stale", set()),
    ],
)
def test_what_a_rule_chooses(text: str, chosen: set[Outcome]) -> None:
    """`failed` is everything that is not ok; an outcome is itself alone; stale is not decided by
    outcomes.
    """
    rule = RerunRule.of(text, NAMES, LABELS)
    outcomes = (Outcome.OK, Outcome.FAILED, Outcome.MISMATCH, Outcome.OOM)
    values = {"batch": 1, "heads": 8, "implementation": "standard"}
    assert {outcome for outcome in outcomes if rule.chooses(outcome, values)} == chosen
