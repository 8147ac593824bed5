"""What an implementation may be: `build(config)`, which returns the callable, or the callable
itself.

A factory is a function or a class whose one parameter is called `config`, or whatever is called
`build`. Everything else that can be called is called with the inputs; an nn.Module class is made
first, of the params that it asks for.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.errors import suggestion
from orchestrator.formatting import counted
from orchestrator.usercode.text import signatures
from orchestrator.workload import Config

FACTORY = "build"
CONFIG = "config"
STATE = "state"
GIVEN = (CONFIG, "device")  # to a constructor, beside params and options


@dataclass(frozen=True)
class Shape:
    """The parameters of something callable.

    Attributes:
        required: positional parameters without a default.
        optional: positional parameters with one.
        keywords: parameters by name alone; `needed` are those of them without a default.
        star: whether it takes any number of arguments.
        any_keyword: whether it takes any keyword.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    star: bool = False
    any_keyword: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All of its parameters."""
        return (*self.required, *self.optional, *self.keywords)

    def __str__(self) -> str:
        parts = list(self.required)
        parts += [f"{name}=..." for name in self.optional]
        if self.star:
            parts.append("*args")
        return ", ".join(parts)


def is_factory(name: str, shape: Shape, inputs: Sequence[str] | None, *, old_form: bool) -> bool:
    """Whether a function of this name and these parameters is called with the config, and not with
    the inputs.

    Args:
        name: of the function.
        shape: its parameters.
        inputs: the names of the workload's inputs, where they are known.
        old_form: the workload is a `Workload` of its own making: whatever takes one argument
            builds, as it ever did.
    """
    if name == FACTORY or shape.required == (CONFIG,):
        return True
    one = len(shape.required) == 1 or (not shape.required and shape.star)
    return old_form and one and (not inputs or shape.required[:1] != tuple(inputs))


def complaint(
    name: str,
    shape: Shape,
    inputs: Sequence[str],
    call: Mapping[str, Any],
    options: Mapping[str, Any],
) -> str:
    """Why a function cannot be called with these inputs and keywords; empty where it can."""
    if options:
        stated = ", ".join(f"{key}: {value!r}" for key, value in options.items())
        return (
            f"{name}({shape}) is called with the inputs, and options reach build(config) alone: "
            f"write call: {{{stated}}} to give them to {name}, or make it a factory, "
            "whose one parameter is called config"
        )
    unknown = [key for key in call if key not in shape.names]
    if unknown and not shape.any_keyword:
        return f"{name}({shape}) takes no {', '.join(unknown)}, which call: gives"
    given = {*call, *({STATE} - set(inputs))}
    least = [one for one in shape.required if one not in given]
    most = [one for one in (*shape.required, *shape.optional) if one not in given]
    missing = [one for one in shape.needed if one not in given]
    if missing:
        return f"{name} needs {', '.join(missing)} by keyword: give it with call:"
    if any(one.startswith("*") for one in inputs):  # how many there are is not known
        return ""
    if len(least) <= len(inputs) and (shape.star or len(inputs) <= len(most)):
        return ""
    takes = f"{len(least)} to {len(most)} arguments"
    if len(least) == len(most):
        takes = counted(len(least), "argument")
    return (
        f"{name}({shape}) takes {takes}, and the workload has "
        f"{counted(len(inputs), 'input')} ({', '.join(inputs)}): "
        "an implementation is a function of the inputs, or "
        "a factory, whose one parameter is called config and which returns one"
    )


def shape_in_text(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> Shape:
    """The parameters of a function, read from its text."""
    stated = node.args
    positional = [argument.arg for argument in (*stated.posonlyargs, *stated.args)]
    split = len(positional) - len(stated.defaults)
    pairs = zip(stated.kwonlyargs, stated.kw_defaults, strict=True)
    return Shape(
        tuple(positional[:split]),
        tuple(positional[split:]),
        tuple(argument.arg for argument in stated.kwonlyargs),
        tuple(argument.arg for argument, default in pairs if default is None),
        stated.vararg is not None,
        stated.kwarg is not None,
    )


def shape_of(function: Any) -> Shape | None:
    """The parameters of something callable; None where Python cannot tell, as of much that is
    written in C.
    """
    try:
        stated = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    required: list[str] = []
    optional: list[str] = []
    keywords: list[str] = []
    needed: list[str] = []
    star = any_keyword = False
    for one in stated:
        if one.kind is one.VAR_POSITIONAL:
            star = True
        elif one.kind is one.VAR_KEYWORD:
            any_keyword = True
        elif one.kind is one.KEYWORD_ONLY:
            keywords.append(one.name)
            if one.default is one.empty:
                needed.append(one.name)
        elif one.default is one.empty:
            required.append(one.name)
        else:
            optional.append(one.name)
    return Shape(
        tuple(required), tuple(optional), tuple(keywords), tuple(needed), star, any_keyword
    )


def complaint_in_text(
    tree: ast.Module,
    name: str,
    inputs: Sequence[str] | None,
    call: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    old_form: bool,
    params: Collection[str] = (),
) -> str:
    """Why what a file calls `name` can be no implementation, as far as its text tells; empty where
    it may be one.

    Args:
        tree: the parsed file.
        name: what `use` names in it.
        inputs: the names of the workload's inputs; None where they are not known.
        call: keywords of every call.
        options: of the implementation, which a factory alone can read.
        old_form: see `is_factory`.
        params: what a constructor may ask for: names of the workload's params and of options.
    """
    node: ast.AST | None = signatures.functions(tree).get(name)
    made = signatures.classes(tree).get(name)
    if made is not None and params and not made.decorator_list:
        shape = _constructor_in_text(made)
        if shape is None or is_factory(name, shape, inputs, old_form=old_form):
            return ""
        return _of_constructor(name, shape, params)
    if node is None:
        node = signatures.values(tree).get(name)
    if isinstance(node, ast.Constant | ast.List | ast.Tuple | ast.Dict | ast.Set | ast.JoinedStr):
        found = ast.unparse(node)
        if len(found) > 40:
            found = f"{found[:37]}..."
        return f"{name} is {found}, which cannot be called"
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return ""  # a class, something imported, or made by a call
    if isinstance(node, ast.AsyncFunctionDef):
        return f"{name} is an async function, whose call computes nothing: make it a plain one"
    shape = shape_in_text(node)
    if is_factory(name, shape, inputs, old_form=old_form):
        return ""
    if getattr(node, "decorator_list", None):
        return ""  # what a decorator makes of it is known once it is imported
    if inputs is None:
        return ""
    return complaint(name, shape, inputs, call, options)


def _constructor_in_text(node: ast.ClassDef) -> Shape | None:
    """The parameters of a class's own constructor; None: it has none, or a decorated one."""
    for one in node.body:
        if isinstance(one, ast.FunctionDef) and one.name == "__init__" and not one.decorator_list:
            shape = shape_in_text(one)
            return replace(shape, required=shape.required[1:])  # but for self
    return None


def _of_constructor(name: str, shape: Shape, params: Collection[str]) -> str:
    """Which argument of a constructor no param and no option gives; empty: each is given."""
    asked = (*shape.required, *shape.needed)
    unknown = [one for one in asked if one not in params and one not in GIVEN]
    if not unknown:
        return ""
    near = suggestion(unknown[0], params)
    return (
        f"{name} is made with {', '.join(unknown)}, which is no param and no option{near}: "
        "give it by options, or a default"
    )


@dataclass(frozen=True)
class LoadedEntry:
    """What the sweep file names, imported, and how it is to be called.

    Attributes:
        value: a factory, a callable, or a class.
        name: its name in its file or module.
        form: the workload's form that it states; None: the default.
        call: keyword arguments of every call.
        compile: whether it is called under torch.compile, or what that is given.
    """

    value: Any
    name: str
    form: str | None = None
    call: Mapping[str, Any] = field(default_factory=dict)
    compile: bool | Mapping[str, Any] = False


def make(
    value: Any,
    name: str,
    config: Config,
    params: Mapping[str, Any],
    inputs: Sequence[str] | None,
    *,
    old_form: bool,
) -> Any:
    """The callable that `value` is or builds.

    Args:
        value: what the sweep file's `use` names.
        name: its name there.
        config: for a factory.
        params: of the trial, for the constructor of a class.
        inputs: the names of the workload's inputs, where they are known.
        old_form: see `is_factory`.
    """
    shape = shape_of(value)
    if shape is None and (name == FACTORY or old_form):
        return value(config)
    if shape is not None and is_factory(name, shape, inputs, old_form=old_form):
        is_guessed = name != FACTORY and shape.required != (CONFIG,)
        try:
            return value(config)
        except Exception as error:
            if is_guessed:
                error.add_note(
                    f"{name}({shape}) was called with the config: under a hand-written Workload a "
                    "function of one argument is a factory, which returns what is called with the "
                    f"inputs; write def build(config): return {name}, or have the Workload's "
                    "input_names name its one input"
                )
            raise
    if inspect.isclass(value):
        return value(**_constructor_arguments(shape, config, params))
    return value


def _constructor_arguments(
    shape: Shape | None, config: Config, params: Mapping[str, Any]
) -> dict[str, Any]:
    """What a class is made of: params and options of the trial by the names that its constructor
    has.
    """
    if shape is None:
        return {}
    known = {**params, **config.options, "config": config, "device": config.device}
    return {name: known[name] for name in shape.names if name in known}


def compiled(function: Callable[..., Any], how: bool | Mapping[str, Any]) -> Callable[..., Any]:
    """The function under torch.compile; `how` gives its keywords."""
    if how is False:
        return function
    import torch

    options = dict(how) if isinstance(how, Mapping) else {}
    made: Callable[..., Any] = torch.compile(function, **options)
    return made
