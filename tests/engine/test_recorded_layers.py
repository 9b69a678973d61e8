"""Every layer gives the values and gradients that the original's layer gave: tests/golden/recorded."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.protos import caffe_pb2
from tests.engine.support import blob_of, layer_of

FOLDER = Path(__file__).parents[1] / "golden" / "recorded"


@dataclass(frozen=True)
class Case:
    """One layer as it was run.

    Attributes:
        facts: text, phase, forwards, and what else the README names.
        arrays: what was read and written, by name.
    """

    facts: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def all(self, kind: str) -> list[np.ndarray]:
        """The arrays of one kind, by index."""
        names = (name for name in self.arrays if name.partition(":")[0] == kind)
        return [self.arrays[name] for name in sorted(names, key=lambda name: int(name.partition(":")[2]))]


def read(path: Path) -> list[Case]:
    with np.load(path) as file:
        values = file["values"]
        cases = []
        for facts in json.loads(str(file["cases"])):
            arrays = {}
            for name, shape in facts["arrays"].items():
                size = int(np.prod(shape))
                arrays[name], values = values[:size].reshape(shape), values[size:]
            cases.append(Case(facts, arrays))
        assert not values.size
        return cases


TYPES = sorted(path.stem for path in FOLDER.glob("*.npz"))
CASES = [
    pytest.param(case, id=f"{name}-{at}") for name in TYPES for at, case in enumerate(read(FOLDER / f"{name}.npz"))
]


def test_all_recorded_cases_are_run() -> None:
    assert len(CASES) == 215


@pytest.mark.parametrize("case", CASES)
def test_a_layer_computes_and_differentiates_as_the_original_does(case: Case) -> None:
    layer = layer_of(case.facts["text"], phase=caffe_pb2.Phase.Value(case.facts["phase"]))
    bottom = [blob_of(values) for values in case.all("bottom")]
    top = [Blob() for _ in case.all("top")]
    if case.facts.get("in_place"):
        top[0] = bottom[0]
    layer.run_setup(bottom, top)
    layer.param_propagate_down = [True] * len(layer.params)
    check("filled param", layer.params if case.all("filled") else [], case.all("filled"))
    for blob, values in zip(layer.params, case.all("param") or case.all("filled"), strict=True):
        blob.data[...] = values
    for _ in range(case.facts["forwards"]):
        for blob, values in zip(bottom, case.all("bottom"), strict=True):
            blob.data[...] = values
        layer.run_forward(bottom, top)
    check("top", top, case.all("top"))
    if case.all("param_after"):
        check("param afterwards", layer.params, case.all("param_after"))
    if "propagate_down" not in case.facts:
        return
    wanted = case.facts["propagate_down"]
    for blob in (*layer.params, *bottom):
        blob.diff.fill(0)
    for blob, values in zip(top, case.all("top_diff"), strict=True):
        blob.diff[...] = values
    layer.run_backward(top, wanted, bottom)
    check(
        "gradient of bottom",
        [blob for blob, of in zip(bottom, wanted, strict=True) if of],
        case.all("bottom_diff"),
        diffs=True,
    )
    check("gradient of param", layer.params, case.all("param_diff"), diffs=True)


def check(what: str, actual: list[Blob], expected: list[np.ndarray], *, diffs: bool = False) -> None:
    for index, (blob, values) in enumerate(zip(actual, expected, strict=True)):
        assert blob.shape == values.shape, f"{what} {index}"
        array = blob.diff if diffs else blob.data
        np.testing.assert_allclose(array, values, rtol=1e-4, atol=1e-5, err_msg=f"{what} {index}")
