"""Things by name: ``module:function``, ``file.py:model``, ready-made models."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aisle_smc.batch.words import did_you_mean

__all__ = ["by_name", "model_by_name", "proposal_by_name", "resampler_by_name"]


def by_name(text: str, folder: Path, known: Mapping[str, Any] | None = None) -> Any:
    """Return what ``module:name`` or ``file.py:name`` means.

    Parameters
    ----------
    text : str
        A module or a file, a colon, and a name in it.
    folder : Path
        Where files lie, and modules that are not installed.
    known : mapping, optional
        What may be said without a colon.

    Raises
    ------
    ValueError
        If there is no such thing; the nearest name is given.

    Notes
    -----
    What a file in `folder` defines travels to workers by value: they need not have the file.
    """
    if known is not None and text in known:
        return known[text]
    origin, colon, name = text.rpartition(":")
    if not colon or not origin or not name:
        among = f", or one of {', '.join(known)}" if known else ""
        near = did_you_mean(text, known) if known else ""
        raise ValueError(f"expected module:name or file.py:name{among}; got {text!r}{near}")
    module = _file(folder / origin) if origin.endswith(".py") else _module(origin, folder)
    value: Any = module
    for part in name.split("."):
        if not hasattr(value, part):
            names = [held for held in vars(value) if not held.startswith("_")]
            raise ValueError(f"{origin} has no {part!r}{did_you_mean(part, names)}")
        value = getattr(value, part)
    return value


def model_by_name(text: str, folder: Path, options: Mapping[str, Any]) -> Any:
    """Return a model: a ready-made one, or a model or factory in a module or file."""
    from aisle_smc.ssm import zoo
    from aisle_smc.ssm.description import Model

    value = by_name(text, folder, {name: getattr(zoo, name) for name in sorted(zoo.__all__)})
    if isinstance(value, Model):
        if options:
            raise ValueError(f"{text} is a model and takes no options; name its factory instead")
        return value
    try:
        model = value(**options)
    except Exception as error:
        raise ValueError(f"{text} cannot make a model: {type(error).__name__}: {error}") from error
    if not isinstance(model, Model):
        raise ValueError(f"{text} must be a model or return one; got {type(model).__name__}")
    return model


def proposal_by_name(text: str) -> Any:
    """Return a filter's proposal by name: bootstrap, guided or auxiliary."""
    from aisle_smc.ssm.proposals import Auxiliary, Bootstrap, Guided

    return _choice("proposal", text, {"bootstrap": Bootstrap, "guided": Guided,
                                      "auxiliary": Auxiliary})()  # fmt: skip


def resampler_by_name(text: str) -> Any:
    """Return a resampling scheme by name."""
    from aisle_smc import resampling

    schemes = {n: s for n, s in vars(resampling).items() if isinstance(s, resampling.Scheme)}
    return _choice("resampler", text, schemes)


def _choice(what: str, text: str, known: Mapping[str, Any]) -> Any:
    if text not in known:
        raise ValueError(
            f"no {what} {text!r}; there are {', '.join(known)}{did_you_mean(text, known)}"
        )
    return known[text]


def _module(name: str, folder: Path) -> Any:
    beside = folder.joinpath(*name.split(".")).with_suffix(".py")
    if beside.is_file():
        return _file(beside)
    where = str(folder.resolve())
    if where not in sys.path:
        sys.path.insert(0, where)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise ValueError(f"the module {name!r} does not import: {error}") from error
        near = [path.stem for path in folder.glob("*.py")]
        raise ValueError(f"no module {name!r}{did_you_mean(name, near)}") from error
    except Exception as error:
        raise ValueError(
            f"the module {name!r} does not import: {type(error).__name__}: {error}"
        ) from error
    return module


# Files that have been run, with their time and size: one file makes one module.
_files: dict[Path, tuple[tuple[int, int], Any]] = {}


def _file(path: Path) -> Any:
    if not path.is_file():
        near = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise ValueError(f"no file {path}{did_you_mean(path.name, near)}")
    path = path.resolve()
    state = (path.stat().st_mtime_ns, path.stat().st_size)
    if path in _files and _files[path][0] == state:
        return _files[path][1]
    # A name of its own: a file called queue.py must not stand in for the module queue.
    name = f"aisle_study_{path.stem}"
    import cloudpickle

    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} must be a Python file, ending in .py")
    module = importlib.util.module_from_spec(spec)
    where = str(path.parent)
    if where not in sys.path:
        sys.path.insert(0, where)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        stack = traceback.extract_tb(error.__traceback__)
        frames = [frame for frame in stack if Path(frame.filename).resolve() == path]
        line = getattr(error, "lineno", None) or (frames[-1].lineno if frames else None)
        at = f", line {line}" if line else ""
        raise ValueError(
            f"the file {path} does not run: {type(error).__name__}{at}: {error}"
        ) from error
    # What lies beside the study travels with it: workers need not have the file.
    cloudpickle.register_pickle_by_value(module)
    _files[path] = state, module
    return module
