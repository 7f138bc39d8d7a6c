"""Models by name or from a file: what ``--model`` and ``--params`` mean."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

from aisle_smc.cli.table import nearest

__all__ = ["Loaded", "load_model", "parse_params", "read_parameters", "zoo_models"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model, what to call it, and a hash by which a run knows it again."""

    model: Any
    label: str
    digest: str


def zoo_models() -> dict[str, Callable[..., Any]]:
    """Return by name the ready-made models that need no further choice."""
    from aisle_smc.ssm import zoo

    found = {name: getattr(zoo, name) for name in sorted(zoo.__all__)}
    return {
        name: make
        for name, make in found.items()
        if not isinstance(make, type)
        and all(p.default is not p.empty for p in signature(make).parameters.values())
    }


def load_model(given: str) -> Loaded:
    """Return the model that ``--model`` names.

    Parameters
    ----------
    given : str
        The name of a ready-made model, or ``file.py:name``; the name may be left out if the file
        holds one model.

    Raises
    ------
    ValueError
        If the file or the name is missing, the file does not run, or what it names is no model.
    """
    name, colon, attribute = given.rpartition(":")
    if not colon:
        name, attribute = given, ""
    path = Path(name)
    if not colon and path.suffix != ".py":
        return _ready_made(given)
    if not path.is_file():
        raise ValueError(
            f"no model file {path}; expected --model file.py:name, with the model as `name` in it"
        )
    source = path.read_bytes()
    module = _run(path)
    value = _attribute(path, module, attribute)
    label = value.name or attribute or path.stem
    return Loaded(model=value, label=label, digest=hashlib.sha256(source).hexdigest())


def parse_params(text: str) -> dict[str, float]:
    """Read ``mu=0.1,rho=0.9`` as numbers by name.

    Examples
    --------
    >>> parse_params("mu=-1, rho=.97")
    {'mu': -1.0, 'rho': 0.97}
    """
    values: dict[str, float] = {}
    for part in text.replace(";", ",").split(","):
        name, equals, number = part.partition("=")
        try:
            values[name.strip()] = float(number)
        except ValueError:
            equals = ""
        if not equals or not name.strip():
            raise ValueError(
                f"--params must be name=number, separated by commas, for example "
                f"mu=-1,rho=0.97; got {part.strip()!r}"
            )
    return values


def read_parameters(model: Any, text: str) -> Any:
    """Return the parameters typed, with those that the prior fixes filled in."""
    names = model.parameter_names
    values = parse_params(text) if text else {}
    for name in values:
        if name not in names:
            raise ValueError(
                f"the model has no parameter {name!r}; its parameters are {', '.join(names)}"
                f"{nearest(name, names)}"
            )
    fixed = dict(model.prior.constants) if model.prior is not None else {}
    missing = [name for name in names if name not in values and name not in fixed]
    if missing:
        example = ",".join(f"{name}=..." for name in missing)
        raise ValueError(
            f"--params must give every parameter a value; missing: {', '.join(missing)}; "
            f"for example --params {example}"
        )
    return model.parameters({name: values.get(name, fixed.get(name)) for name in names})


def _ready_made(given: str) -> Loaded:
    ready = zoo_models()
    if given not in ready:
        raise ValueError(
            f"no model {given!r}; expected file.py:name or one of {', '.join(ready)}"
            f"{nearest(given, list(ready))}"
        )
    model = ready[given]()
    return Loaded(model=model, label=given, digest=f"zoo:{given}")


def _run(path: Path) -> Any:
    """Run a model file as a module, so that its classes can be pickled and its neighbours seen."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} must be a Python file, ending in .py")
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    # A model file called like a module in use (random.py, queue.py) must not replace it.
    if path.stem not in sys.modules:
        sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        stack = traceback.extract_tb(error.__traceback__)
        frames = [frame for frame in stack if Path(frame.filename).resolve() == path.resolve()]
        line = getattr(error, "lineno", None) or (frames[-1].lineno if frames else None)
        where = f", line {line}" if line else ""
        raise ValueError(
            f"the model file {path} does not run: {type(error).__name__}{where}: {error}"
        ) from error
    return module


def _attribute(path: Path, module: Any, attribute: str) -> Any:
    from aisle_smc.ssm.description import Model

    models = [name for name, value in vars(module).items() if isinstance(value, Model)]
    if not attribute:
        if len(models) != 1:
            found = f"it has {', '.join(models)}" if models else "it has none"
            raise ValueError(
                f"{path} must hold one model, or --model {path}:name must say which; {found}"
            )
        attribute = models[0]
    if not hasattr(module, attribute):
        names = models or [name for name in vars(module) if not name.startswith("_")]
        kind = "its models are" if models else "it has no model, only"
        raise ValueError(
            f"{path} has no {attribute!r}; {kind} {', '.join(names[:12]) or 'nothing'}"
            f"{nearest(attribute, names)}"
        )
    value = getattr(module, attribute)
    if callable(value) and not isinstance(value, Model | type):
        value = value()
    if not isinstance(value, Model):
        raise ValueError(
            f"{attribute!r} in {path} must be a StateSpaceModel, VectorModel or PythonModel, or a "
            f"function that returns one; it is {_indefinite(value)}"
        )
    return value


def _indefinite(value: Any) -> str:
    kind = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
    return kind if kind.startswith("the ") else f"of type {kind}"
