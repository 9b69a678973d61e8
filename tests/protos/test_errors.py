"""The error tree: every class has its place, its wire status and its exit code."""

import grpc
import pytest

from farlayer.protos import errors
from farlayer.protos.errors import FarlayerError, LayerError, PrototxtError, WorkerDiedError

TREE = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FarlayerError)]


@pytest.mark.parametrize("kind", TREE)
def test_every_class_has_a_wire_status_that_grpc_knows_and_an_exit_code(kind: type[FarlayerError]) -> None:
    assert hasattr(grpc.StatusCode, kind.wire_status)
    assert kind.wire_status != "OK"
    assert kind.exit_code in {1, 2}
    assert (kind.exit_code == 2) == issubclass(kind, errors.InputError)


@pytest.mark.parametrize("kind", TREE)
def test_every_class_is_drawn_in_the_tree_below_its_base(kind: type[FarlayerError]) -> None:
    assert errors.__doc__ is not None
    drawing = errors.__doc__.splitlines()
    (line,) = [line for line in drawing if kind.__name__ in line.replace("`--", "|--").split()]
    if kind is FarlayerError:
        return
    above = drawing[: drawing.index(line)]
    indent = line.index("-- ")
    base = next(text for text in reversed(above) if text.find("-- ") < indent)
    assert kind.__base__ is not None
    assert kind.__base__.__name__ in base.split()


@pytest.mark.parametrize("kind", TREE)
def test_the_text_of_an_error_ends_with_its_remedy(kind: type[FarlayerError]) -> None:
    error = kind("what", remedy="do this", layer="conv1")
    assert error.layer == "conv1"
    assert str(error).endswith("what\n  Remedy: do this")
    assert "Remedy" not in str(kind("what"))


def test_a_prototxt_error_begins_with_its_place() -> None:
    error = PrototxtError("no such field", path="net.prototxt", line=3, column=7)
    assert str(error) == "net.prototxt:3:7: no such field"
    assert (error.path, error.line, error.column) == ("net.prototxt", 3, 7)
    assert str(PrototxtError("empty", path="net.prototxt")) == "net.prototxt: empty"


def test_a_layer_error_shows_the_traceback_of_the_worker() -> None:
    assert str(LayerError("what", remote_traceback="Traceback\n  there\n")) == "what\n\nTraceback\n  there"


def test_the_death_of_a_worker_shows_its_last_lines() -> None:
    error = WorkerDiedError("gone", log_lines=("one", "two"))
    assert str(error) == "gone\n  Last lines of the worker:\n    one\n    two"
