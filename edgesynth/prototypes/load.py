"""From what --prototype and --weights say to a network."""

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from edgesynth.errors import PrototypeError
from edgesynth.prototypes.builtin import PROTOTYPES
from edgesynth.prototypes.weights import load_weights

__all__ = ["load_prototype"]


def load_prototype(spec: str, in_channels: int, num_classes: int | None, weights: Path | None = None) -> nn.Module:
    """The network that `spec` names: a built-in prototype, or package.module:function.

    The function (or class) may be in any package or in the current directory, and returns any nn.Module. It
    is given `in_channels` and `num_classes` as far as its signature names them; None is a number that is not known.
    Its code runs, so it must be trusted; `weights`, a safetensors file, need not be. Random initialisation draws from
    torch's global generator: call torch.manual_seed before for the same network again.

    Raises PrototypeError, in one line that says what to do, if there is no such function, if it cannot be
    called with what is known here, raises, or returns something else, or if the weights do not fit.
    """
    known = {"in_channels": in_channels} | ({} if num_classes is None else {"num_classes": num_classes})
    with _current_directory_importable():
        model = _call(spec, PROTOTYPES[spec] if spec in PROTOTYPES else _find(spec), known)
    if weights is not None:
        load_weights(model, weights)
    return model


def _find(spec: str) -> Callable[..., object]:
    module_name, colon, function_name = spec.partition(":")
    if not (colon and module_name and function_name):
        raise PrototypeError(
            f"there is no prototype {spec!r}: it may be {', '.join(PROTOTYPES)}, or package.module:function"
        )
    try:
        importlib.invalidate_caches()
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise PrototypeError(f"prototype {spec}: cannot import {module_name}: {_one_line(error)}") from error
    function: object = getattr(module, function_name, None)
    if function is None:
        raise PrototypeError(f"prototype {spec}: {module_name} ({module.__file__}) has no {function_name!r}")
    if not callable(function):
        raise PrototypeError(f"prototype {spec}: {function_name} is {type(function).__name__}, not a function")
    return function


def _call(spec: str, function: Callable[..., object], known: dict[str, int]) -> nn.Module:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # written in C, without a signature
        parameters = {}.values()
    by_name = [each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    given = {each.name: known[each.name] for each in by_name if each.name in known}
    for each in parameters:
        if each.default is each.empty and each.name not in given and each.kind not in _VARIABLE:
            if each.name == "num_classes":
                raise PrototypeError(f"prototype {spec} wants the number of classes: give --data, or --classes")
            given_here = f"{' and '.join(known)} {'are' if len(known) > 1 else 'is'} given"
            raise PrototypeError(
                f"prototype {spec}: its parameter {each.name!r} has no default, and only {given_here}: "
                "add a default, or name a function of your own that calls it"
            )
    try:
        model = function(**given)
    except (Exception, SystemExit) as error:
        raise PrototypeError(f"prototype {spec} raised {_one_line(error)}") from error
    if not isinstance(model, nn.Module):
        raise PrototypeError(f"prototype {spec} returned {type(model).__name__}, not a torch.nn.Module")
    return model


_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@contextmanager
def _current_directory_importable() -> Iterator[None]:
    """Modules of the current directory come first, as for python -m."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def _one_line(error: BaseException) -> str:
    """Type, first line of the message, and the place in the code that raised it."""
    message = str(error).strip().partition("\n")[0]
    what = type(error).__name__ + (f": {message}" if message else "")
    frames = [each for each in traceback.extract_tb(error.__traceback__) if not each.filename.startswith("<")]
    last = frames[-1] if frames else None
    if isinstance(error, SyntaxError) or last is None or last.filename in (__file__, importlib.__file__):
        return what
    return f"{what} ({last.filename}, line {last.lineno})"
