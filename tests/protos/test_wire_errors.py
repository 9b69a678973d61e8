"""Errors keep type, arguments and text on their way between processes."""

import sys
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlayer.protos import errors
from farlayer.protos.errors import FarlayerError, LayerError, PrototxtError, WorkerDiedError
from farlayer.protos.layer_service_pb2 import Error
from farlayer.protos.wire_errors import from_wire, to_wire, user_error_to_wire

TREE = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FarlayerError)]


class KnownError(ValueError):
    """A user's type that both sides have loaded."""

    def __init__(self, first: int, second: str) -> None:
        super().__init__(first, second)
        self.first = first


class DemandingError(Exception):
    """Its __init__ and __new__ want what nobody has."""

    def __new__(cls, *, secret: str) -> "DemandingError":
        return super().__new__(cls)

    def __init__(self, *, secret: str) -> None:
        super().__init__(secret)


class HasMessageError(Exception):
    """Takes a name that our errors use."""

    @property
    def message(self) -> str:
        return "its own"


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def cross(error: BaseException, method: str = "forward") -> LayerError:
    """Raises an error as user code, and brings it over the wire."""
    try:
        raise error
    except BaseException as raised:  # noqa: BLE001  # user code may raise anything
        message = user_error_to_wire(raised, layer="conv1", type_name="mod.Layer", method=method, own_files="/nowhere/")
    found = from_wire(Error.FromString(message.SerializeToString()))
    assert isinstance(found, LayerError)
    return found


@pytest.mark.parametrize("kind", TREE)
def test_every_class_of_the_tree_crosses_with_what_it_says(kind: type[FarlayerError]) -> None:
    error = kind("what", remedy="do this", layer="conv1")
    found = from_wire(Error.FromString(to_wire(error).SerializeToString()))
    assert type(found) is kind
    assert (found.message, found.remedy, found.layer) == (error.message, "do this", "conv1")


def test_the_attributes_of_a_death_cross() -> None:
    error = WorkerDiedError("gone", signal=9, exit_code_of_worker=3, log_lines=("one", "two"))
    found = from_wire(to_wire(error))
    assert isinstance(found, WorkerDiedError)
    assert (found.signal, found.exit_code_of_worker, found.log_lines) == (9, 3, ("one", "two"))


def test_the_attributes_of_a_layer_error_cross() -> None:
    error = LayerError("what", exception_type="mod.Own", remote_traceback="there", method="setup")
    found = from_wire(to_wire(error))
    assert isinstance(found, LayerError)
    assert (found.exception_type, found.remote_traceback, found.method) == ("mod.Own", "there", "setup")


def test_a_place_is_not_put_twice_before_a_prototxt_error() -> None:
    error = PrototxtError("what", path="net.prototxt", line=1, column=2)
    assert str(from_wire(to_wire(error))) == str(error)


def test_a_class_that_the_tree_does_not_have_crosses_as_its_base() -> None:
    class Special(errors.NetError):
        pass

    assert type(from_wire(to_wire(Special("what")))) is errors.NetError
    assert type(from_wire(Error(kind="FromTheFuture", message="what"))) is FarlayerError


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("what"),
        ValueError(),
        KeyError("key"),
        IndexError(1, 2),
        ZeroDivisionError("division by zero"),
        OSError(2, "No such file"),
        FileNotFoundError(2, "No such file"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        UnicodeEncodeError("ascii", "ü", 0, 1, "ordinal not in range"),
        StopIteration(5),
        StopAsyncIteration(),
        RecursionError("too deep"),
        MemoryError(),
        NotImplementedError("later"),
        SyntaxError("bad", ("file.py", 1, 2, "text")),
        ImportError("no module"),
        AssertionError(),
        TimeoutError("slow"),
        KnownError(1, "two"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_can_be_caught_as_what_it_was(error: Exception) -> None:
    found = cross(error)
    assert isinstance(found, type(error))
    assert found.args == (error.args or (found.message,))
    assert (found.layer, found.method) == ("conv1", "forward")
    assert found.exception_type == f"{type(error).__module__}.{type(error).__qualname__}"
    assert found.message.startswith("layer 'conv1' (mod.Layer) raised in forward: ")
    assert "raise error" in found.remote_traceback
    assert found.remote_traceback.rstrip() in str(found)


def test_what_builtin_exceptions_make_of_their_arguments_is_there() -> None:
    missing = cross(OSError(2, "No such file"))
    assert isinstance(missing, FileNotFoundError)
    assert (missing.errno, missing.strerror) == (2, "No such file")
    stopped = cross(StopIteration(5))
    assert isinstance(stopped, StopIteration)
    assert stopped.value == 5
    undecodable = cross(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"))
    assert isinstance(undecodable, UnicodeDecodeError)
    assert (undecodable.object, undecodable.start, undecodable.reason) == (b"\xff", 0, "invalid")


@pytest.mark.parametrize(
    "error", [SystemExit(3), GeneratorExit(), KeyboardInterrupt(), ExceptionGroup("several", [ValueError("one")])]
)
def test_what_cannot_be_combined_is_a_layer_error_that_names_its_type(error: BaseException) -> None:
    found = cross(error)
    assert type(found) is LayerError
    assert found.exception_type == f"builtins.{type(error).__name__}"


@pytest.mark.parametrize("error", [DemandingError(secret="x"), HasMessageError("what"), UnprintableError()])
def test_types_with_demands_of_their_own_cross(error: Exception) -> None:
    found = cross(error)
    assert found.exception_type == f"{type(error).__module__}.{type(error).__qualname__}"
    assert isinstance(found.message, str)
    assert "raised in forward" in found.message


def test_a_type_that_is_not_loaded_here_is_its_nearest_base_that_is() -> None:
    module = ModuleType("only_in_the_worker")
    exec(  # a module that is in sys.modules for a moment only
        "class Base(ArithmeticError): pass\nclass Special(Base): pass", module.__dict__
    )
    sys.modules["only_in_the_worker"] = module
    try:
        raise module.Special("what")
    except ArithmeticError as raised:
        message = user_error_to_wire(raised, layer="l", type_name="t", method="forward", own_files="/nowhere/")
    finally:
        del sys.modules["only_in_the_worker"]
    found = from_wire(message)
    assert isinstance(found, ArithmeticError)
    assert isinstance(found, LayerError)
    assert found.exception_type == "only_in_the_worker.Special"
    assert "only_in_the_worker" not in sys.modules, "the name came from outside: nothing may be imported for it"


@pytest.mark.parametrize(
    "name", ["os.system", "builtins.int", "builtins", "", ".", "sys.modules", "farlayer.protos.errors.no_such"]
)
def test_names_that_are_no_exceptions_are_ignored(name: str) -> None:
    found = from_wire(Error(kind="LayerError", message="what", exception_types=[name]))
    assert type(found) is LayerError


def test_arguments_that_cannot_cross_do_not_hide_the_error() -> None:
    found = cross(ValueError(object(), "text"))
    assert isinstance(found, ValueError)
    assert "ValueError: (<object object" in found.message


def test_causes_are_in_the_traceback() -> None:
    try:
        try:
            raise KeyError("the cause")
        except KeyError as cause:
            raise ValueError("the effect") from cause
    except ValueError as error:
        found = cross(error)
    assert "KeyError: 'the cause'" in found.remote_traceback
    assert "direct cause" in found.remote_traceback


def test_frames_of_the_worker_are_left_out() -> None:
    try:
        raise ValueError("what")
    except ValueError as error:
        kept = user_error_to_wire(error, layer="", type_name="", method="", own_files="/nowhere/")
        cut = user_error_to_wire(error, layer="", type_name="", method="", own_files=__file__)
    assert "test_wire_errors.py" in kept.traceback
    assert cut.traceback == kept.traceback, "there are no others"


def test_text_with_lone_surrogates_crosses_escaped() -> None:
    found = cross(ValueError("caf\udce9"))
    assert "caf\\udce9" in found.message
    assert found.args == ("caf\udce9",)
    assert "caf\\udce9" in from_wire(to_wire(FarlayerError("caf\udce9", remedy="\udce9"))).message


def test_endless_text_and_arguments_are_cut() -> None:
    found = cross(ValueError("x" * 10_000_000))
    assert len(str(found)) < 1_000_000
    assert "characters ..." in found.message


@given(st.text(), st.text(), st.text(), st.tuples(st.integers() | st.text() | st.floats(allow_nan=False)))
def test_any_text_and_arguments_cross(message: str, remedy: str, layer: str, args: tuple[object, ...]) -> None:
    found = from_wire(to_wire(FarlayerError(message, remedy=remedy, layer=layer)))
    assert (found.message, found.remedy, found.layer) == (message, remedy, layer)
    assert cross(RuntimeError(*args)).args == args
