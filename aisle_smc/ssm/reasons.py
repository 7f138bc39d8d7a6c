"""Why a model function does not compile: a page of Numba in one sentence and one source line."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

__all__ = ["reason"]


def reason(message: str, function: Callable[..., Any], signature: Sequence[Any]) -> str:
    """Return what is wrong with a function and the line of its source, indented.

    Parameters
    ----------
    message : str
        What Numba said.
    function : callable
        The user's function, not compiled.
    signature : sequence of numba types
        The types of its arguments, to name the fields it could have meant.
    """
    message = re.sub(r"\x1b\[[0-9;]*m", "", message)
    number, source = _place(message, function)
    place = f"\n  at line {number}: {source}" if number else ""
    return f"  {_tidy(_sentence(message, signature))}{place}"


def _sentence(message: str, signature: Sequence[Any]) -> str:
    for pattern, say in _SAYINGS:
        found = re.search(pattern, message)
        if found:
            return say(*found.groups())
    found = re.search(r"Unknown attribute '(\w+)' of type (.*)", message)
    if found:
        return _unknown_attribute(found[1], found[2], signature)
    return _first_words(message)


# In this order: the first that matches speaks.
_SAYINGS: tuple[tuple[str, Callable[..., str]], ...] = (
    (r"NameError: (.*)", lambda what: what),
    (
        r"Untyped global name '(\w+)': Cannot determine Numba type of <class 'function'>",
        lambda name: f"{name} is a plain Python function: decorate it with numba.njit",
    ),
    (
        r"Untyped global name '(\w+)':? (?:C|c)annot determine Numba type of (.*)",
        lambda name, kind: f"{name} is {kind}, which compiled code cannot use",
    ),
    (
        r"Can't unify return type from the following types: (.*)",
        lambda types: f"it returns values of different types: {types}",
    ),
    (
        r"Cannot unify (.*) and (.*) for '([\w$]+)[.\d]*', defined at",
        lambda one, other, name: (
            f"{'a value' if name[0] == '$' else name} is {one} in one place and {other} in another"
        ),
    ),
    (
        r"Invalid use of BoundFunction\((\S+) for (.*?)\) with parameters \((.*)\)",
        lambda method, of, given: f"{method} of {of} cannot take ({given})",
    ),
    (
        r"No implementation of function .* found for signature:\s*>>> (.*)",
        lambda call: f"there is no compiled version of {call}",
    ),
    (
        r"Unknown attribute '(\w+)' of type Module\(<module '([\w.]+)'",
        lambda name, module: f"{module}.{name} cannot be called from compiled code",
    ),
    (
        r"Unknown attribute '(\w+)' of type NumPyRandomGeneratorType",
        lambda name: f"the compiled random generator has no method '{name}'",
    ),
)


def _unknown_attribute(name: str, kind: str, signature: Sequence[Any]) -> str:
    for argument in signature:
        fields = getattr(argument, "fields", None)
        if fields and str(argument) == kind.strip():
            close = get_close_matches(name, fields, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            owner = argument.instance_class.__name__
            return f"{owner} has no field '{name}' (it has {', '.join(fields)}){hint}"
    hint = ""
    if kind.startswith(("float64", "array(float64")):
        hint = " (for named components declare state= or observation= as a NamedTuple class)"
    return f"{kind} has no attribute '{name}'{hint}"


_BOILERPLATE = re.compile(
    r"^(Failed in|During|There are|-|\^|<source|Enable|This error|For more|https?:|>>>)"
)


def _first_words(message: str) -> str:
    """Return the first line of a message that says something."""
    lines = (line.strip() for line in message.splitlines())
    said = [line for line in lines if line and not _BOILERPLATE.match(line)]
    return re.sub(r"\s*Raised from .*", "", said[0]) if said else "Numba gives no reason"


_TYPES = (
    (r"Literal\[str\]\((.*?)\)", r"'\1'"),
    (r"Literal\[\w+\]\((.*?)\)", r"\1"),
    (r"UniTuple\((\w+) x (\d+)\)", r"a tuple of \2 \1"),
    (r"NumPyRandomGeneratorType", "rng"),
    (r"unicode_type", "str"),
    (r"<iv=None>", ""),
    (r"(\w+)\(float64 x \d+\)", r"\1"),
)


def _tidy(sentence: str) -> str:
    """Put Numba's names of types in words a Python user knows."""
    for pattern, replacement in _TYPES:
        sentence = re.sub(pattern, replacement, sentence)
    return sentence.strip()


def _place(message: str, function: Callable[..., Any]) -> tuple[int, str]:
    """Return the number and text of the line at fault, 0 and nothing if it is not known."""
    code = function.__code__
    try:
        lines, first = inspect.getsourcelines(function)
    except (OSError, TypeError):
        lines, first = [], code.co_firstlineno
    last = max((line for _, _, line in code.co_lines() if line is not None), default=first)
    named = re.findall(r'File "([^"]*)", line (\d+)|(?:at|from) ([^\s()]+) \((\d+)\)', message)
    numbers = [
        int(line_a or line_b)
        for file_a, line_a, file_b, line_b in named
        if code.co_filename.endswith((file_a or file_b).lstrip("./"))
    ]
    undefined = re.search(r"NameError: .*'(\w+)'", message)
    if undefined:
        word = re.compile(rf"\b{undefined[1]}\b")
        numbers = [first + k for k, line in enumerate(lines) if word.search(line)] or numbers
    inside = [number for number in numbers if first <= number <= max(last, first)]
    if not inside:
        return 0, ""
    offset = inside[0] - first
    return inside[0], lines[offset].strip() if offset < len(lines) else ""
