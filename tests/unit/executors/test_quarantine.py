"""When a slot is no longer trusted: three faults in a row of different trials, or one that is
final.
"""

from __future__ import annotations

from orchestrator.executors.quarantine import STRIKES, Quarantine

HERE = "slot 0 on 127.0.0.2"


def test_three_faults_in_a_row_are_one_too_many() -> None:
    """The third closes the slot, and the reason says so."""
    quarantine = Quarantine()
    outs = [
        quarantine.fault(0, HERE, "the supervisor died", f"trial{number}")
        for number in range(STRIKES)
    ]
    assert outs == [False] * (STRIKES - 1) + [True]
    assert quarantine.reasons == {0: f"{HERE}: 3 faults in a row, the last: the supervisor died"}


def test_an_attempt_that_ends_as_attempts_do_wipes_the_slate() -> None:
    """Faults far apart are chance."""
    quarantine = Quarantine()
    for number in range(10):
        assert not quarantine.fault(0, HERE, "lost", f"trial{number}")
        quarantine.well(0)
    assert quarantine.reasons == {}


def test_one_trial_costs_nobody_a_slot() -> None:
    """A trial that takes its supervisor along each time it is tried counts once."""
    quarantine = Quarantine()
    assert not any(quarantine.fault(0, HERE, "the supervisor died", "the same") for _ in range(10))


def test_faults_of_no_trial_all_count() -> None:
    """A supervisor that dies before it was given anything is the slot's own fault."""
    quarantine = Quarantine()
    assert [quarantine.fault(0, HERE, "no driver", None) for _ in range(STRIKES)] == [
        False,
        False,
        True,
    ]


def test_slots_are_counted_apart_and_a_final_fault_is_enough() -> None:
    """A device that is not clean takes no second trial; its neighbour goes on."""
    quarantine = Quarantine()
    quarantine.fault(1, "slot 1", "lost", "one")
    quarantine.fault(1, "slot 1", "lost", "two")
    assert quarantine.fault(0, HERE, "cuda:0 holds 900 MiB more than before", "three", final=True)
    assert list(quarantine.reasons) == [0]
    assert (
        quarantine.refusal()
        == f"no slot is left to run on:\n  {HERE}: cuda:0 holds 900 MiB more than before"
    )


def test_a_refusal_names_each_slot_and_the_model_that_has_none_left() -> None:
    """Where models are told apart others may have slots still."""
    quarantine = Quarantine()
    quarantine.fault(0, HERE, "the node is gone", None, final=True)
    assert quarantine.refusal() == f"no slot is left to run on:\n  {HERE}: the node is gone"
    assert quarantine.refusal("H200").startswith("no slot of the accelerator H200 is left to run")
