"""What a worker makes of implementations, honest and otherwise: the outcome, the reason, the
figures.
"""

from __future__ import annotations

import gc
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from orchestrator.machine.ceilings import Ceilings
from orchestrator.measure.clocks import CpuClock
from orchestrator.measure.memory import Figures
from orchestrator.outcome import Outcome, Phase
from orchestrator.record import TrialRecord
from orchestrator.spec.models import VerifySpec
from orchestrator.verify.rule.noise import forget_pools
from orchestrator.worker.stages import Stages
from tests.support.attempts import BRIEF, attempt, attention_attempt, recorded

# so many calls that it comes to the one that changes an input, however slow the machine is
PATIENT = {"protocol": BRIEF.model_copy(update={"max_time_s": 5.0, "min_repetitions": 16})}
TALL = {"batch": 1, "rows": 100_000, "inner": 4, "width": 4, "dtype": "float16"}
PHASES = [Phase.BUILD, Phase.FIRST_CALL, Phase.VERIFY, Phase.MEASURE, Phase.MEMORY, Phase.DONE]


@pytest.fixture(autouse=True)
def settings_put_back() -> Iterator[None]:
    """Some implementations change torch's global settings; here they share a process."""
    dtype, precision = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    yield
    torch.set_default_dtype(dtype)
    torch.set_float32_matmul_precision(precision)


def reason(record: TrialRecord) -> str:
    """Kind and message of an attempt that is not ok, which has no figures."""
    assert record.error is not None
    assert record.metrics is None
    assert record.values_ms is None
    return f"{record.error.kind}: {record.error.message}"


@pytest.mark.slow
def test_remembered_gradients_are_a_mismatch() -> None:
    """A forward call that takes as long as ever hides nothing: gradients are part of a call."""
    record = recorded(
        attention_attempt(
            "remembers_its_gradients",
            direction="forward_backward",
            seq_len=512,
            segment_lengths=[512],
        )
    )
    assert record.outcome is Outcome.MISMATCH, record
    assert record.error is not None
    assert "remembers answers" in record.error.message


def test_a_mode_of_torch_that_is_left_on_is_refused() -> None:
    """It could compute when someone looks, and nothing while it is timed; whatever it is, it is
    named.
    """
    depth = torch._C._len_torch_function_stack()
    try:
        record = recorded(attention_attempt("puts_off_its_work"))
    finally:
        while torch._C._len_torch_function_stack() > depth:
            torch._C._pop_torch_function_stack()
    assert record.outcome is Outcome.FAILED
    assert record.error is not None
    assert record.error.message.startswith("left a Later on")


@pytest.mark.slow
def test_a_default_device_is_no_such_mode() -> None:
    """It decides where tensors are made, and nothing else."""
    torch.set_default_device("cpu")
    try:
        assert recorded(attention_attempt("honest")).outcome is Outcome.OK
    finally:
        torch.set_default_device(None)


@pytest.mark.slow
def test_rows_that_were_not_compared_are_counted_in_a_note() -> None:
    """Where the whole reference is beyond what may be spent on it."""
    given = attention_attempt("honest", seq_len=512, segment_lengths=[512])
    record = recorded(given.model_copy(update={"verify": VerifySpec(max_reference_flops=1e6)}))
    assert record.outcome is Outcome.OK
    (note,) = [note for note in record.notes if "compared" in note]
    rows, total, chance = (int(word) for word in note.split() if word.isdigit())
    assert 0 < rows < total == 2 * 512 * 3
    assert chance == round(100 * (1 - rows / total))
    assert not [note for note in recorded(given).notes if "compared" in note]


@pytest.mark.slow
def test_calls_that_take_no_time_are_implausible(monkeypatch: pytest.MonkeyPatch) -> None:
    """A median of 0 is no rate, and no traceback."""
    monkeypatch.setattr(
        CpuClock, "time", lambda _, block, *__: 0.0 * len([call() for call in block])
    )
    record = recorded(attempt("honest"))
    assert record.outcome is Outcome.IMPLAUSIBLE
    assert record.error is not None
    assert record.error.message == "half of all calls took no time at all"


def test_an_honest_implementation_is_ok_and_every_figure_is_there() -> None:
    """The record carries the required figures, all finite or null, the raw values and where it was
    measured.
    """
    phases: list[Phase] = []
    record = recorded(attempt("honest"), phases.append)
    assert (record.outcome, record.phase, record.error, phases) == (
        Outcome.OK,
        Phase.DONE,
        None,
        PHASES,
    )
    assert record.metrics is not None
    assert record.values_ms is not None
    required = {
        "latency_ms",
        "latency_ci_low_ms",
        "latency_ci_high_ms",
        "noise_pct",
        "peak_memory_mib",
    }
    required |= {
        "throughput_tokens_per_s",
        "tflops_per_s",
        "gb_per_s",
        "relative_error",
        "error_budget",
    }
    required |= {"first_call_ms", "workspace_mib"}
    assert required <= set(record.metrics)
    assert all(value is None or math.isfinite(value) for value in record.metrics.values())
    assert record.metrics["throughput_tokens_per_s"] == pytest.approx(
        32 / record.metrics["latency_ms"] * 1000
    )
    assert record.metrics["relative_error"] < record.metrics["error_budget"] < 1e-5
    assert 0 < record.metrics["limit_share"] < 0.5
    assert len(record.values_ms) == record.metrics["repetitions"] >= 1
    assert record.environment["match"]["torch"]
    assert TrialRecord.model_validate_json(record.to_line()).metrics == record.metrics


@pytest.mark.slow
@pytest.mark.parametrize("name", ["honest", "layer"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_are_part_of_a_call_that_goes_backward(name: str, dtype: str) -> None:
    """Inputs and loaded parameters, in each of the workload's forms."""
    record = recorded(attempt(name, direction="forward_backward", dtype=dtype))
    assert record.outcome is Outcome.OK, record.error


@pytest.mark.parametrize(
    ("name", "params", "said"),
    [
        ("cached_first_answer", {}, "relative error 1."),
        ("cached_by_identity", {}, "as it is timed: output"),
        ("mutates_input", {}, "the call changed its input a"),
        ("mutates_input_while_timed", PATIENT, "the call changed its input b"),
        ("leaves_nan", {}, "output[1, 15, 7] is nan, expected a finite value"),
        ("swaps_batch_entries", {}, "relative error 1."),
        ("never_computes_the_last", {}, "output[1, "),
        ("off_by_two_thousandths", {}, "relative error 2.0e-03"),
        ("one_wrong_row", TALL, "output[:, 50000, :]: 4 of 400000 elements are wrong"),
        (
            "wrong_gradient",
            {"direction": "forward_backward"},
            "grad_b: 128 of 128 elements are wrong, relative error 1.0e+00",
        ),
        ("detached", {"direction": "forward_backward"}, "without a gradient"),
    ],
)
def test_a_cheat_is_caught_and_has_no_time(name: str, params: dict[str, object], said: str) -> None:
    """Each is found out, by name and place, and nothing is reported of how fast it was."""
    record = recorded(attempt(name, **params))
    assert record.outcome is (Outcome.FAILED if name == "detached" else Outcome.MISMATCH)
    assert said in reason(record)


@pytest.mark.parametrize(
    ("name", "outcome", "phase", "said"),
    [
        ("raises", Outcome.FAILED, Phase.FIRST_CALL, "ValueError: nothing doing (matmul.py:"),
        ("exits", Outcome.FAILED, Phase.FIRST_CALL, "SystemExit: 3"),
        ("interrupts", Outcome.FAILED, Phase.FIRST_CALL, "KeyboardInterrupt"),
        ("unprintable", Outcome.FAILED, Phase.FIRST_CALL, "its __str__ raises"),
        ("not_for_this", Outcome.UNSUPPORTED, Phase.BUILD, "NotImplementedError: needs CUDA"),
        (
            "not_implemented_when_called",
            Outcome.UNSUPPORTED,
            Phase.FIRST_CALL,
            "NotImplementedError: later",
        ),
        ("asks_for_too_much", Outcome.OOM, Phase.FIRST_CALL, "can't allocate memory"),
        ("builds_too_much", Outcome.OOM, Phase.BUILD, "can't allocate memory"),
        ("builds_nothing", Outcome.FAILED, Phase.BUILD, "build returned None, expected a callable"),
        (
            "wrong_shape",
            Outcome.FAILED,
            Phase.VERIFY,
            "expected (2, 16, 8): a transpose is missing?",
        ),
        ("wrong_dtype", Outcome.FAILED, Phase.VERIFY, "torch.float64, expected torch.float32"),
        ("no_tensor", Outcome.FAILED, Phase.VERIFY, "returned a tuple, expected one tensor"),
        (
            "computes_when_looked_at",
            Outcome.FAILED,
            Phase.FIRST_CALL,
            "returned a Lazy, expected a plain torch.Tensor",
        ),
        (
            "layer_by_another_name",
            Outcome.FAILED,
            Phase.BUILD,
            "the module has the parameters kernel (8, 8), and the workload's state has weight (8, 8)",
        ),
        (
            "layer_without_state",
            Outcome.FAILED,
            Phase.BUILD,
            "expected an nn.Module to load parameters into",
        ),
        (
            "of_unknown_form",
            Outcome.FAILED,
            Phase.BUILD,
            "the form 'triangle', but matmul has product, layer",
        ),
        ("no_such_name", Outcome.FAILED, Phase.BUILD, "has no attribute 'no_such_name'"),
    ],
)
def test_every_other_end_is_an_outcome_with_its_reason(
    name: str, outcome: Outcome, phase: Phase, said: str
) -> None:
    """Nothing that an implementation does short of killing the process gets out of the worker."""
    record = recorded(attempt(name))
    assert (record.outcome, record.phase) == (outcome, phase)
    assert said in reason(record)


def test_a_file_that_does_not_import_is_a_failed_row(tmp_path: Path) -> None:
    """The reason names the exception and the line of the user's file."""
    (tmp_path / "broken.py").write_text("x = 1\nimport no_such_module_anywhere\n")
    record = recorded(attempt("broken", use=f"{tmp_path}/broken.py:build"))
    assert (record.outcome, record.phase) == (Outcome.FAILED, Phase.BUILD)
    assert "ModuleNotFoundError" in reason(record)
    assert "(broken.py:2 in <module>)" in reason(record)


def test_the_log_has_the_traceback_and_the_record_only_the_gist(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whoever wants more than the reason opens the log."""
    record = recorded(attempt("raises"))
    printed = capsys.readouterr().err
    assert "Traceback (most recent call last)" in printed
    assert 'raise ValueError("nothing doing")' in printed
    assert "Traceback" not in reason(record)


@pytest.mark.slow
def test_a_global_setting_left_behind_does_not_bend_the_harness() -> None:
    """The reference is computed as ever; the implementation is called as it was timed, under the
    settings it made.
    """
    record = recorded(attempt("changes_global_state"))
    assert record.outcome is Outcome.OK, record.error
    assert torch.get_default_dtype() is torch.float16


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(
    ("name", "outcome", "said"),
    [
        ("honest", Outcome.OK, ""),
        ("sees_the_future", Outcome.MISMATCH, "output["),
        ("forgets_the_transpose", Outcome.MISMATCH, "output: "),
        ("leaves_out_the_last_head", Outcome.MISMATCH, ", 2, "),
        ("averages_the_values", Outcome.MISMATCH, "output"),
    ],
)
def test_attention_done_wrong_is_a_mismatch(
    name: str, outcome: Outcome, said: str, dtype: str
) -> None:
    """Causal attention, in every dtype, against the real workload's reference."""
    record = recorded(attention_attempt(name, dtype=dtype, causal=True))
    assert record.outcome is outcome, record.error
    assert outcome is Outcome.OK or said in reason(record)


@pytest.mark.slow
def test_gradients_of_attention_are_compared_by_name() -> None:
    """A gradient that is right for q and v and missing for k fails by that name."""
    honest = recorded(attention_attempt("honest", direction="forward_backward"))
    assert honest.outcome is Outcome.OK, honest.error
    record = recorded(
        attention_attempt("gradient_cut_off_at_the_keys", direction="forward_backward")
    )
    assert record.outcome is Outcome.MISMATCH
    assert reason(record).startswith("Mismatch: grad_k: ")


@pytest.mark.slow
def test_a_stated_tolerance_is_the_budget() -> None:
    """verify.tolerance replaces floor and yardstick, in both directions."""
    loose, strict = VerifySpec(tolerance=0.01), VerifySpec(tolerance=1e-9)
    assert recorded(attempt("off_by_two_thousandths", verify=loose)).outcome is Outcome.OK
    assert recorded(attempt("honest", verify=strict)).outcome is Outcome.MISMATCH


def test_a_sampled_reference_still_finds_what_is_wrong() -> None:
    """Beyond max_reference_flops rows are sampled; the message names rows of the output all the
    same.
    """
    few = VerifySpec(max_reference_flops=1.0)
    assert recorded(attempt("honest", verify=few)).outcome is Outcome.OK
    record = recorded(attempt("swaps_batch_entries", verify=few))
    assert record.outcome is Outcome.MISMATCH
    assert "output[:, 0..14, :]" in reason(record)


def test_a_harness_out_of_memory_is_not_the_implementation_s() -> None:
    """The reference falls back to a sample of rows; if even that does not fit, the row says whose
    fault it was.
    """
    whole = "starved.py:NEEDS_TOO_MUCH_FOR_ALL_ROWS"
    assert recorded(attempt("honest", workload=whole)).outcome is Outcome.OK
    record = recorded(attempt("honest", workload="starved.py:NEEDS_TOO_MUCH"))
    assert record.outcome is Outcome.FAILED
    assert "the harness, not the implementation, ran out of memory" in reason(record)


@pytest.mark.slow
def test_faster_than_the_device_can_be_is_implausible(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the ceilings an attempt brings, and again by those measured anew; ceilings known too low
    are forgiven.
    """
    low = Ceilings(
        device="cpu", matmul_flops_per_s={"float32": 1.0}, copy_bytes_per_s=1.0, cache_bytes=2**20
    )
    high = low.model_copy(update={"matmul_flops_per_s": {"float32": 1e18}})
    monkeypatch.setattr("orchestrator.worker.stages.measure_bounds", lambda device, precisions: low)
    record = recorded(attempt("honest", ceilings=low.model_dump()))
    assert (record.outcome, record.phase) == (Outcome.IMPLAUSIBLE, Phase.MEASURE)
    assert "faster than this device can be" in reason(record)
    monkeypatch.setattr(
        "orchestrator.worker.stages.measure_bounds", lambda device, precisions: high
    )
    record = recorded(attempt("honest", ceilings=low.model_dump()))
    assert record.outcome is Outcome.OK
    assert record.metrics is not None
    assert 0 < (record.metrics["ceiling_share"] or 0) < 1


@pytest.mark.slow
def test_an_output_that_the_next_call_writes_over_is_noted() -> None:
    """It is right when it is returned; whoever wants to keep it needs a copy, which others make
    within their time.
    """
    record = recorded(attempt("writes_over_its_last_answer"))
    assert record.outcome is Outcome.OK, record.error
    assert "where that of the call before lies" in record.notes[-1]
    assert not any("where that" in note for note in recorded(attempt("honest")).notes)


def test_a_clock_put_in_the_place_of_the_harness_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What an implementation is timed and judged by is bound before its code is imported, and
    compared afterwards.
    """
    monkeypatch.setattr("time.perf_counter", time.perf_counter)  # put back when this ends
    record = recorded(attempt("stops_the_clock"))
    assert record.outcome is Outcome.FAILED
    assert "it replaced time.perf_counter" in reason(record)


@pytest.mark.slow
def test_nothing_of_the_harness_is_alive_where_memory_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a GPU it would be the implementation's memory: references, outputs, inputs of timing."""
    of_a_row, kept = Stages._host_memory, []

    def counted(stages: Stages) -> Figures:
        forget_pools()  # as is done on a GPU
        gc.collect()
        tensors = [one for one in gc.get_objects() if issubclass(type(one), torch.Tensor)]
        kept.extend(tuple(one.shape) for one in tensors if one.shape == (2, 64, 4, 16))
        return of_a_row(stages)

    monkeypatch.setattr(Stages, "_host_memory", counted)
    record = recorded(attention_attempt("honest", heads=4, causal=True, seq_len=64))
    assert record.outcome is Outcome.OK, record
    assert kept == []


@pytest.mark.slow
def test_options_and_dtype_reach_build() -> None:
    """config.options is a mapping of the entry's own options, config.dtype a torch dtype."""
    record = recorded(attempt("wants_options", options={"block": 64}, dtype="float64"))
    assert record.outcome is Outcome.OK, record.error
    assert record.metrics is not None
    assert record.metrics["error_budget"] < 1e-12


@pytest.mark.slow
def test_the_same_attempt_has_the_same_inputs_and_error() -> None:
    """Inputs follow from the trial's seed alone."""
    errors = [
        recorded(attempt("honest", seed=seed)).metrics["relative_error"] for seed in (1, 1, 2)
    ]  # type: ignore[index]
    assert errors[0] == errors[1] != errors[2]


def test_the_worker_imports_without_torch() -> None:
    """It is imported by the fork server, which decides what else is."""
    code = "import sys; sys.modules.update(torch=None, ray=None, mlflow=None); import orchestrator.worker.run_attempt"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
