"""What user code raises reaches the caller with its type, its arguments and its traceback, on every carrier."""

import json
from pathlib import Path

import numpy as np
import pytest

import farlayer.worker
from farlayer.protos.errors import FarlayerError, LayerError, LayerLoadError
from tests.remote_support import Host, Run

WORKER_FOLDER = str(Path(farlayer.worker.__file__).parent)
METHODS = ["__init__", "setup", "reshape", "forward", "backward"]


def call_all(run: Run) -> None:
    run.session.setup(run.bottom, run.top)
    run.session.reshape()
    run.forward()
    run.backward()


def plan(method: str, kind: str, *args: object) -> str:
    return json.dumps({"method": method, "kind": kind, "args": args})


@pytest.mark.parametrize("method", METHODS)
def test_an_exception_in_any_method_keeps_its_type(host: Host, method: str) -> None:
    run = host.prepare("Raises", [[1, 2]], param_str=plan(method, "RuntimeError", "what went wrong"))
    with pytest.raises(RuntimeError) as caught:
        call_all(run)
    error = caught.value
    assert isinstance(error, LayerError)
    assert (error.layer, error.method) == ("the Raises", method)
    assert error.exception_type == "builtins.RuntimeError"
    assert error.args == ("what went wrong",)
    assert error.message.startswith(f"layer 'the Raises' (contract_layers.Raises) raised in {method}: RuntimeError")
    assert "contract_layers.py" in error.remote_traceback
    assert "in obey" in error.remote_traceback
    assert WORKER_FOLDER not in error.remote_traceback, "frames that are not the user's"
    assert error.remote_traceback.rstrip() in str(error)


@pytest.mark.parametrize("method", ["setup", "reshape", "forward", "backward"])
def test_the_session_goes_on_after_an_exception(host: Host, method: str) -> None:
    run = host.prepare("Raises", [[1, 2]], param_str=plan(method, "ValueError", "once"))
    with pytest.raises(ValueError, match="once"):
        call_all(run)
    run.session.reshape()
    run.forward()
    run.backward()
    np.testing.assert_array_equal(run.top[0].data, [5, 5])
    np.testing.assert_array_equal(run.bottom[0].diff, [6, 6])


def test_what_the_layer_wrote_before_it_raised_is_there(any_memory: Host) -> None:
    run = any_memory.start("Raises", [[1, 2]], param_str=plan("forward", "ValueError", "once"))
    with pytest.raises(ValueError, match="once"):
        run.forward()
    np.testing.assert_array_equal(run.bottom[0].data, [2, 3])
    run.forward()
    np.testing.assert_array_equal(run.bottom[0].data, [3, 4])


@pytest.mark.parametrize(
    ("kind", "args"),
    [
        ("KeyError", ("a key",)),
        ("FileNotFoundError", (2, "No such file")),
        ("StopIteration", (7,)),
        ("AssertionError", ()),
        ("MemoryError", ()),
        ("TimeoutError", ("slow",)),
        ("GeneratorExit", ()),
    ],
)
def test_unusual_builtin_exceptions_keep_type_and_arguments(host: Host, kind: str, args: tuple[object, ...]) -> None:
    run = host.start("Raises", [[1, 2]], param_str=plan("forward", kind, *args))
    with pytest.raises(LayerError) as caught:
        run.forward()
    assert caught.value.exception_type == f"builtins.{kind}"
    assert caught.value.args == args or not args
    run.forward()


def test_an_os_error_has_its_number(host: Host) -> None:
    run = host.start("Raises", [[1, 2]], param_str=plan("forward", "OSError", 2, "No such file"))
    with pytest.raises(FileNotFoundError) as caught:
        run.forward()
    assert caught.value.errno == 2
    assert caught.value.strerror == "No such file"


def test_an_exception_of_the_users_own_is_one_that_is_known_here(host: Host) -> None:
    run = host.start("Raises", [[1, 2]], param_str=plan("forward", "OurError", 1, "two"))
    with pytest.raises(LayerError) as caught:
        run.forward()
    assert caught.value.exception_type == "contract_layers.OurError"
    assert caught.value.args == (1, "two")
    run.forward()


def test_sys_exit_in_a_layer_is_an_error_of_the_layer_and_ends_nothing(host: Host) -> None:
    run = host.start("Exits", [[1, 2]])
    with pytest.raises(LayerError, match="SystemExit: 3") as caught:
        run.forward()
    assert caught.value.exception_type == "builtins.SystemExit"
    with pytest.raises(LayerError):
        run.forward()


def test_text_that_is_no_utf8_does_not_hide_the_error(host: Host) -> None:
    run = host.start("BadText", [[1, 2]])
    with pytest.raises(RuntimeError, match=r"no such file: caf\\udce9"):
        run.forward()
    with pytest.raises(RuntimeError):
        run.forward()


def test_an_exception_with_endless_text_is_cut(host: Host) -> None:
    run = host.start("Raises", [[1, 2]], param_str=plan("forward", "ValueError", "x" * 1_000_000 + "the end"))
    with pytest.raises(ValueError, match=r"x\n\[\.\.\. \d+ characters \.\.\.\]\nx+the end"):
        run.forward()


def test_a_module_that_fails_in_its_own_code_says_where(host: Host) -> None:
    run = host.prepare("Any", module="broken_import")
    with pytest.raises(ZeroDivisionError) as caught:
        run.session.setup([], [])
    assert isinstance(caught.value, LayerError)
    assert caught.value.method == "import"
    assert 'raise ZeroDivisionError("in the module itself")' in caught.value.remote_traceback


@pytest.mark.parametrize(
    ("module", "layer", "says"),
    [
        ("no_such_module", "Any", ["no module named 'no_such_module'", "It looked in:", "remote_layers", "PYTHONPATH"]),
        ("missing_dependency", "Any", ["'missing_dependency' needs", "'no_such_package_at_all'", "pip install"]),
        ("contract_layers", "Doubel", ["has no class 'Doubel'", "Recurrent", "did you mean 'Double'?"]),
        ("contract_layers", "OurError", ["is a class with the bases", "expected a class derived from caffe.Layer"]),
        ("contract_layers", "np", ["is a module", "expected a class derived from caffe.Layer"]),
        ("", "Any", ["names no module", "python_param.module"]),
    ],
)
def test_a_layer_that_cannot_be_loaded_says_what_is_wrong(host: Host, module: str, layer: str, says: list[str]) -> None:
    run = host.prepare(layer, module=module)
    with pytest.raises(LayerLoadError) as caught:
        run.session.setup([], [])
    for part in [f"layer 'the {layer}'", *says]:
        assert part in str(caught.value)
    assert caught.value.layer == f"the {layer}"
    with pytest.raises(FarlayerError, match="its setup failed"):
        run.forward()
