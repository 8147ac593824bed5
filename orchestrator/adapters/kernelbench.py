"""KernelBench: a folder of files with `Model`, `get_inputs` and `get_init_inputs`; answers are
files with `ModelNew`.

The format is that of the KernelBench repository's README: `Model(*get_init_inputs())` is the
reference, called with `get_inputs()`; an answer is a file that defines `ModelNew`, made and called
alike. Here each file is a value of the param `problem`; the weights of `Model` are drawn from the
trial's seed and loaded into `ModelNew` by name. An answer whose parameters have other names or
shapes draws them from the same seed, as the format's own runner has it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.adapters.folders import below
from orchestrator.errors import UnknownNameError
from orchestrator.usercode.functions import ANY_OUTPUT, WorkloadError
from orchestrator.usercode.generators import seeded, states_of_torch
from orchestrator.usercode.registry import Target
from orchestrator.usercode.text import signatures
from orchestrator.usercode.text.file_facts import FileFacts, parsed
from orchestrator.usercode.text.signatures import Kind, Parameter
from orchestrator.usercode.values.trees import mapped
from orchestrator.usercode.workload_file import FileWorkload, workload_of
from orchestrator.workload import Config, Workload

if TYPE_CHECKING:
    import torch

NEEDED = ("Model", "get_inputs", "get_init_inputs")
ANSWER = "ModelNew"
# What the format's own scripts call the answers of a run
GENERATED = re.compile(r"level_\d+_problem_(\d+)_sample_(\d+)_kernel")
SAMPLE = "sample"  # the option that tells which of several answers of a run is meant
# What a Model writes into its own input with: relu_(x), inplace=True, x += 1, x[0] = 1
IN_PLACE = re.compile(r"[a-z0-9]_\(|inplace|[-+*/]=|\]\s*=[^=]|out=")
BESIDE_WEIGHTS = 42  # the seed of what a model draws that is neither parameter nor buffer


class KernelBench:
    """The adapter."""

    def workload(self, path: Path) -> FileWorkload:
        """One workload, with a param `problem` for the files of the folder.

        Raises:
            UnknownNameError: the folder holds no such files, a file does not parse, or one with
                `Model` lacks what the format asks for.
        """
        found = _problems(path)
        if not found:
            raise UnknownNameError(
                f"{path} holds no KernelBench problems: Python files with {', '.join(NEEDED)}"
            )
        for name, file in found.items():
            missing = sorted(set(NEEDED) - _top(parsed(file)))
            if missing:
                raise UnknownNameError(
                    f"{file.name} defines no {' and no '.join(missing)}: {name} is no whole problem"
                )
        facts = FileFacts(
            (
                Parameter("problem", Kind("literal", values=tuple(found))),
                Parameter("dtype", Kind("dtype"), required=False, default="float32"),
            ),
            ("*inputs",),
            takes_state=True,
            values={"columns": {"problem": "Problem"}},
            functions=frozenset(("inputs", "reference", "state")),
        )

        problems: dict[str, Problem] = {}

        def get(name: str, config: Config | None) -> Any:
            assert config is not None
            if config.problem not in problems:
                problems[config.problem] = Problem(found[config.problem])
            problem = problems[config.problem]
            return problem if name == "problem" else problem.function(name, config)

        def may_write(config: Config) -> bool:
            text = found[config.problem].read_text(encoding="utf-8")
            return IN_PLACE.search(text) is not None

        def out_dtypes(config: Config) -> dict[str, tuple[Any, ...]]:
            # a Model that computes in float32 inside may return that
            import torch

            return {ANY_OUTPUT: (config.dtype, torch.float32)}

        cases = [{"problem": name} for name in found]
        return workload_of(
            "kernelbench",
            facts,
            get,
            cases=cases,
            widens=True,
            scratch=may_write,
            out_dtypes=out_dtypes,
        )

    def build(self, path: Path, workload: Workload) -> Callable[[Config], Any]:
        """Makes the answer to the trial's problem that lies in the folder; a folder of problems
        answers by `Model`.
        """

        def build(config: Config) -> Any:
            sample = config.options.get(SAMPLE)
            file = _answers(path, [config.problem], sample).get(config.problem)
            if file is None:
                which = "" if sample is None else f" of sample {sample}"
                raise NotImplementedError(f"{path.name} has no answer{which} to {config.problem}")
            assert isinstance(workload, FileWorkload)
            problem: Problem = workload.calls.get("problem", config)
            defined = _named(file)
            kind = "Model" if ANSWER not in defined and "Model" in defined else ANSWER
            return problem.answer(Target(kind, file=file).load(), config)

        return build

    def check(self, path: Path, workload: Workload) -> str:
        """Why the folder answers none of the workload's problems; empty where it answers some."""
        wanted = [one["problem"] for one in getattr(workload, "cases", ()) if "problem" in one]
        if not wanted:
            return (
                "a KernelBench answer is for a KernelBench workload, and this one is "
                f"{workload.name}"
            )
        if any(_is_answer(file) for file in _answers(path, wanted, None).values()):
            return ""
        return (
            f"{path} has a file with {ANSWER} for none of the problems ({', '.join(wanted[:3])}, "
            "...)"
        )

    def files(self, path: Path) -> Sequence[Path]:
        """The files of the folder."""
        return _files(path)

    def adopted(self, path: Path) -> dict[str, Any] | None:
        """A sweep over the problems of the folder, or over the one that a file is; answers are the
        folder's subfolders with files of the same names.
        """
        if path.is_file() and path.suffix != ".py":
            return None
        named = {file: _named(file) for file in self.files(path)}
        if not any(set(NEEDED) <= found for found in named.values()):
            return None
        names = list(_problems(path))
        problems = "kernelbench:." if path.is_dir() else f"kernelbench:{path.name}"
        entries: list[dict[str, Any]] = [{"use": problems, "label": "torch"}]
        entries.append({"use": problems, "label": "torch-compiled", "compile": True})
        is_partial = False
        around = path if path.is_dir() else path.parent
        for folder in below(around):
            place = folder.relative_to(around)
            use, label = f"kernelbench:{place}", "-".join(place.parts)
            samples: list[int | None] = []
            samples += sorted({sample for _, _, sample in _generated(folder)})
            if len(samples) < 2:
                samples = [None]
            for sample in samples:
                answered = _answers(folder, names, sample)
                # a name that only an answer has is enough
                if not any(_is_answer(one) or _is_generated(one) for one in answered.values()):
                    continue
                is_partial = is_partial or len(answered) < len(names)
                entry: dict[str, Any] = {"use": use, "label": label}
                if sample is not None:
                    entry["label"] = f"{label[:52]}-sample-{sample}"
                    entry["options"] = {SAMPLE: sample}
                entries.append(entry)
        left_out = []
        for file, found in named.items():
            if "Model" in found and file.stem not in names:
                left_out.append(f"{file.name}, which defines Model alone, and is no problem")
        sweep: dict[str, Any] = {
            "workload": problems,
            "implementations": entries,
            "baseline": "torch",
        }
        sweep["left_out"] = left_out
        # A problem without an answer is no failure
        return {**sweep, "allow_outcomes": ["unsupported"]} if is_partial else sweep


def _files(path: Path) -> list[Path]:
    """The Python files of a folder, or the one that is named."""
    return [path] if path.is_file() else sorted(filter(Path.is_file, path.glob("*.py")))


def _problems(path: Path) -> dict[str, Path]:
    """The files of a folder that are problems, by name. One that defines `Model` and nothing else
    that the format asks for, beside others that do, is what they import.

    Raises:
        UnknownNameError: a file does not parse, and may be one.
    """
    files = _files(path)
    found = {file.stem: _top(parsed(file)) for file in files}
    by_name = {file.stem: file for file in files}
    models = [name for name, top in found.items() if "Model" in top]
    whole = [name for name in models if {"get_inputs", "get_init_inputs"} & found[name]]
    return {name: by_name[name] for name in whole or models}


def _answers(path: Path, problems: Sequence[str], sample: int | None) -> dict[str, Path]:
    """The files in a folder that answer these problems, by the problem's name. Whether one can be
    imported, and defines ModelNew, shows where it is built: then its rows say so.

    A file has the problem's own name, or is called as the format's scripts call the answers of a
    run, by the number that the problem's name begins with; then `sample` counts, or the first.
    """
    files = _files(path)
    found = {file.stem: file for file in files if file.stem in problems}
    by_number: dict[str, Path] = {}
    for file, number, of_sample in _generated(path):
        if sample is None or sample == of_sample:
            by_number.setdefault(number, file)
    for name in problems:
        number = name.partition("_")[0]
        if name not in found and number in by_number:
            found[name] = by_number[number]
    return found


def _generated(path: Path) -> list[tuple[Path, str, int]]:
    """The answers of a run: file, number of the problem, sample; the first samples first."""
    found = []
    for file in _files(path):
        match = GENERATED.fullmatch(file.stem)
        if match is not None:
            found.append((file, str(int(match[1])), int(match[2])))
    return sorted(found, key=lambda one: one[2])


def _is_generated(file: Path) -> bool:
    return GENERATED.fullmatch(file.stem) is not None


def _is_answer(file: Path) -> bool:
    return bool({"Model", ANSWER} & _named(file))


def _named(file: Path) -> set[str]:
    """What a file defines; nothing, where it does not parse."""
    try:
        return _top(parsed(file))
    except UnknownNameError:
        return set()


def _top(tree: ast.Module) -> set[str]:
    return {*signatures.functions(tree), *signatures.classes(tree), *signatures.values(tree)}


class Problem:
    """The functions of one problem's file.

    Args:
        file: the file.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._loaded: dict[str, Any] = {}
        self._seed = 0  # that the latest weights were drawn from

    def function(self, name: str, config: Config) -> Callable[..., Any]:
        """The workload's function of that name for a trial; the file is imported."""
        import torch

        self._load("get_inputs")

        def cast(value: Any) -> Any:
            return value.to(config.dtype) if _is_floating(value) else value

        def inputs(**_params: Any) -> tuple[Any, ...]:
            drawn = self._load("get_inputs")()
            if isinstance(drawn, torch.Tensor | Mapping | str) or not isinstance(drawn, Iterable):
                raise TypeError(
                    f"get_inputs returns a {type(drawn).__name__}, and must return a list: what "
                    "Model is called with, by position"
                )
            return tuple(mapped(value, cast) for value in drawn)

        def state(**_params: Any) -> dict[str, torch.Tensor]:
            self._seed = int(torch.randint(2**31, (), device="cpu"))
            model = self._made(self._load("Model"), self._seed)
            return {key: cast(value) for key, value in model.state_dict().items()}

        def reference(*given: Any, state: Mapping[str, torch.Tensor]) -> Any:
            floating = [value.dtype for value in (*given, *state.values()) if _is_floating(value)]
            model = self._started(self._load("Model"), config)
            model = _cast(model, floating[0] if floating else config.dtype)
            model.load_state_dict(state)
            before = states_of_torch()
            answer = model(*given)
            if states_of_torch() != before:
                raise WorkloadError(
                    f"{self._file.name}: forward of Model draws random numbers, so that it has no "
                    "one right answer, and any would pass: have Dropout do nothing (p=0, or "
                    "self.eval() in __init__), or draw in get_inputs"
                )
            return answer

        functions: dict[str, Callable[..., Any]] = {
            "inputs": inputs,
            "state": state,
            "reference": reference,
        }
        return functions[name]

    def answer(self, kind: Callable[..., Any], config: Config) -> Any:
        """A module of an answer's class, which takes the weights of `Model`, and draws what it has
        beside them from the same seed.
        """
        module = self._started(kind, config).to(config.device)
        load_by_name = module.load_state_dict

        def load_state_dict(state: Mapping[str, Any], **options: Any) -> Any:
            try:
                return load_by_name(state, **options)
            except RuntimeError:  # parameters of other names or shapes
                own = ", ".join(module.state_dict())
                print(  # noqa: T201 - to the trial's log
                    f"the parameters of {ANSWER} are {own}; those of Model are {', '.join(state)}: "
                    "both are drawn from one seed, as KernelBench does, instead of being copied"
                )
                with seeded(self._seed, config.device):
                    alike = self._made(kind, self._seed).to(config.device, config.dtype)
                return load_by_name(alike.state_dict())

        module.load_state_dict = load_state_dict
        return module

    def _started(self, kind: Callable[..., Any], config: Config) -> Any:
        """A model of a class, in the trial's dtype, whose weights are still to be loaded. What it
        draws beside them (a first hidden state, say) is the same of each: nothing copies it.
        """
        import torch

        default = torch.get_default_dtype()  # a reference is asked in another than an answer
        torch.set_default_dtype(torch.float32)
        try:
            with seeded(BESIDE_WEIGHTS, config.device):
                return _cast(self._made(kind, BESIDE_WEIGHTS), config.dtype)
        finally:
            torch.set_default_dtype(default)

    def _made(self, kind: Callable[..., Any], seed: int | None = None) -> Any:
        """A model of a class; its weights are drawn from `seed`, where that is given."""
        import torch

        given = self._load("get_init_inputs")()
        if not isinstance(given, list | tuple | Mapping):
            raise TypeError(
                f"get_init_inputs returns a {type(given).__name__}, and must return a list: what "
                "Model is made with, by position (or a dict: by name)"
            )
        if seed is not None:
            torch.manual_seed(seed)
        return kind(**given) if isinstance(given, Mapping) else kind(*given)

    def _load(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = Target(name, file=self._file).load()
        return self._loaded[name]


def _cast(model: Any, dtype: torch.dtype) -> Any:
    """The model in a dtype, with tensors that are neither parameters nor buffers."""
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if _is_floating(value):
                setattr(module, name, value.to(dtype))
    return model.to(dtype)


def _is_floating(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor) and value.is_floating_point()


ADAPTER = KernelBench()
