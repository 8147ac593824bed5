"""`compare --again` in one process: the code of both checkouts called in turns of milliseconds.

What disturbs a shared machine lasts longer than that, so it falls on both sides alike, where rounds
of seconds differ by what each of them met. A process holds one of each package: it works where the
checkouts differ in nothing but files that a sweep file names by path.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.compare import duel
from orchestrator.compare.again import SIGNIFICANT, Side, going_on
from orchestrator.compare.comparison import Comparison, Pair, corrected, untimed_pair
from orchestrator.plan.sources import entry_files, sources
from orchestrator.plan.sweep import Sweep
from orchestrator.results import columns
from orchestrator.results.results import Results
from orchestrator.spec.models import MAX_LABEL, ImplementationSpec
from orchestrator.usercode import workloads
from orchestrator.usercode.source import imported_from, module_file, source_of
from orchestrator.usercode.text.rest_of_file import rest_of_file

OURS = "orchestrator"
MARK = " (candidate)"  # behind the label of the candidate's side

Run = Callable[[Sweep, bool], Results]


def why_apart(sides: tuple[Side, Side], loaded: tuple[Sweep, Sweep]) -> str | None:
    """What keeps both sides out of one process; None: nothing does."""
    base, candidate = loaded
    for side in sides:
        if (side.root / OURS / "__init__.py").is_file():
            return "a checkout has an orchestrator of its own"
    if base.spec != candidate.spec:
        return "their sweep files differ"
    if base.spec.search.active or base.plan.cells:
        return "they search"
    if base.spec.resources.per_accelerator:
        return "each model of accelerator is measured"
    if any(base.ranks(trial) > 1 for trial in base.trials):
        return "a trial has several ranks"
    uses = [base.spec.workload]
    for entry in base.spec.implementations:
        uses.append(entry.use)
    for use in uses:
        if workloads.adapted(use, base.base_dir) is not None:
            return "they come through an adapter"
    roots = [side.root for side in sides]
    for sweep in loaded:
        by_name = imported_by_name(sweep, roots)
        if by_name is not None:
            return f"{by_name} is imported by its name from a checkout"
    return _another_problem(base, candidate)


def differing(base: Sweep, candidate: Sweep) -> tuple[str, ...]:
    """The labels of the implementations whose code differs between the two."""
    was, now = sources(base), sources(candidate)
    found = []
    for label in was:
        if was[label].hash != now[label].hash:
            found.append(label)
    return tuple(found)


def in_turns(base: Sweep, candidate: Sweep, label: str) -> Sweep:
    """The sweep that measures the implementation `label` of both in turns, at the base's points.

    Raises:
        RequestError: as by `duel.prepare`.
    """
    entry = base.entries[label]
    other = _of_the_candidate(candidate.entries[label], candidate)
    spec = base.spec.model_copy(update={"implementations": (entry, other)})
    both = Sweep.resolved(spec, base.base_dir, None, base.document.name)
    paired = duel.prepare(both, label, other.label)
    # `--only` chose among the base's trials; the pair was expanded without it
    chosen = {trial.trial_id for trial in base.trials}
    firsts, rivals = [], {}
    for trial in paired.trials:
        if trial.trial_id in chosen and trial.trial_id in paired.rivals:
            firsts.append(trial)
            rivals[trial.trial_id] = paired.rivals[trial.trial_id]
    plan = replace(paired.plan, trials=(*firsts, *rivals.values()))
    return replace(paired, plan=plan, rivals=rivals)


def measured(
    sweep: Sweep,
    looks: Sequence[int],
    fail_slower: float | None,
    run: Run,
    tell: Callable[[str], None],
) -> Results:
    """Measure round by round until no row is unclear, or the last of `looks` is reached.

    Args:
        sweep: as `in_turns` makes it.
        looks: after how many rounds the verdicts are judged, rising.
        fail_slower: the least change that counts, as a fraction; None: 1 %.
        run: (sweep, whether to go on with what was measured) -> its results.
        tell: gets a line after every look but the last.

    Returns:
        The results of all rounds that were made.
    """
    results = None
    for rounds in looks:
        # A disturbed row is met by another round, which tells more than a repetition within one.
        rule = {"repeats": rounds, "remeasure": 0}
        measure = sweep.spec.measure.model_copy(update=rule)
        asked = replace(sweep, spec=sweep.spec.model_copy(update={"measure": measure}))
        results = run(asked, results is not None)
        pairs, _ = duel.pairs_of(results, fail_slower, narrowing=True)
        judged = corrected(pairs, SIGNIFICANT / len(looks))
        unclear = sum(pair.is_open for pair in judged)
        if not unclear or rounds == looks[-1]:
            return results
        tell(going_on(unclear, len(judged), rounds, looks))
    raise AssertionError("the last look returns")


def judge(
    sides: tuple[Side, Side], found: Sequence[Results], looks: int, fail_slower: float | None
) -> Comparison:
    """The verdicts on sweeps of `in_turns`, one for each implementation.

    Args:
        sides: what was compared.
        found: the results of the sweeps.
        looks: how often the verdicts were judged at most, for which they are corrected.
        fail_slower: see `compare`.
    """
    pairs: list[Pair] = []
    unmatched = []
    told_apart: dict[str, str] = {}
    for results in found:
        own, missing = duel.pairs_of(results, fail_slower, narrowing=True)
        for pair in own:
            if not pair.base.ok or not pair.candidate.ok:
                pair = untimed_pair(pair.base, pair.candidate)
            pairs.append(pair)
        unmatched += missing
        told_apart |= columns.columns(results, [pair.base for pair in own])
    return Comparison(
        os.path.relpath(sides[0].file),
        os.path.relpath(sides[1].file),
        corrected(pairs, SIGNIFICANT / looks),
        tuple(unmatched),
        (),
        fail_slower,
        told_apart,
        duel=", ".join(results.meta.sweep_id for results in found),
        again=True,
    )


def _of_the_candidate(entry: ImplementationSpec, candidate: Sweep) -> ImplementationSpec:
    """The candidate's entry as another sweep file would name it."""
    use = entry.use
    for target in workloads.implementation_targets(use, candidate.base_dir):
        if target.file is not None:
            use = f"{target.file}:{target.attribute}"
    label = entry.label[: MAX_LABEL - len(MARK)] + MARK
    files = [str(path) for path in entry_files(entry, candidate.base_dir)]
    return entry.model_copy(update={"use": use, "label": label, "files": files})


def imported_by_name(sweep: Sweep, roots: Sequence[Path]) -> str | None:
    """What a process would find by a module's name in a checkout, and so once for both sides."""
    targets = list(workloads.targets(sweep.spec.workload, sweep.base_dir))
    for entry in sweep.spec.implementations:
        targets += workloads.implementation_targets(entry.use, sweep.base_dir)
    for target in targets:
        if target.module is None:
            continue
        file = module_file(target.module)
        if file is not None and _within(file, roots):
            return target.module
    for source in sources(sweep).values():
        for file in source.roots:
            if _within(file, roots):
                return str(file)
        for file in source.files:
            for root in roots:
                found = imported_from(file, root)
                if found is not None:
                    return found
    return None


def _within(file: Path, roots: Iterable[Path]) -> bool:
    return any(file.is_relative_to(root) for root in roots)


def _another_problem(base: Sweep, candidate: Sweep) -> str | None:
    """In what the problems that the two pose differ; None: they are one."""
    was, now = _workload_files(base), _workload_files(candidate)
    named = workloads.file_of(base.spec.workload, base.base_dir)
    if named is None:
        if _contents(was) == _contents(now):
            return None
        return "their workloads differ"
    names = {entry.use.rpartition(":")[2] for entry in base.spec.implementations}
    main = os.path.relpath(named, base.base_dir)
    rest, other = rest_of_file(was.pop(main), names), rest_of_file(now.pop(main), names)
    if rest != other:
        return f"{main} differs in more than what is measured"
    beside = {_module_beside(file, named) for file in was.values()}
    if rest.modules.isdisjoint(beside):
        return None  # what lies beside it is only the implementations'
    if _contents(was) == _contents(now):
        return None
    return f"what {main} imports differs"


def _module_beside(file: Path, main: Path) -> str:
    """The module or package by which the file `main` would import `file`."""
    if file.is_relative_to(main.parent):
        return Path(file.relative_to(main.parent).parts[0]).stem
    return file.stem


def _workload_files(sweep: Sweep) -> dict[str, Path]:
    """Every file of a sweep's workload by its path from the sweep file's folder."""
    found = source_of(*workloads.targets(sweep.spec.workload, sweep.base_dir)).files
    return {os.path.relpath(file, sweep.base_dir): file for file in found}


def _contents(files: Mapping[str, Path]) -> dict[str, bytes]:
    return {name: file.read_bytes() for name, file in files.items()}
