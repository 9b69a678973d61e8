"""A layer gives the same bits wherever it runs, whatever its inputs."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from farlayer.blobs.blob import Blob
from farlayer.blobs.segment import heap, shared
from tests.remote_support import REMOTE, Host, Run, open_host

SHAPES = st.builds(lambda rows, columns: (*rows, columns), st.lists(st.integers(0, 3), max_size=2), st.just(3))
STEPS = st.lists(
    st.one_of(
        SHAPES.flatmap(
            lambda shape: st.tuples(
                st.just("forward"),
                arrays.arrays(np.float32, shape, elements=st.floats(-4, 4, width=32) | st.just(float("nan"))),
            )
        ),
        st.tuples(st.just("backward"), st.floats(-2, 2, width=32)),
        st.tuples(st.just("update"), st.floats(-1, 1, width=32)),
        st.tuples(st.just("reshape"), st.none()),
    ),
    max_size=8,
)


@pytest.fixture(scope="module")
def reference() -> Iterator[Host]:
    with open_host("in-process") as host:
        yield host


@pytest.fixture(scope="module", params=REMOTE)
def remote(request: pytest.FixtureRequest) -> Iterator[Host]:
    with open_host(request.param) as host:
        yield host


def do(run: Run, step: str, value: object) -> None:
    if step == "forward":
        assert isinstance(value, np.ndarray)
        run.bottom[0].reshape(value.shape)
        run.bottom[0].data[...] = value
        run.forward()
    elif step == "backward":
        run.top[0].diff[...] = value
        run.backward()
    elif step == "update":
        for param in run.params:
            param.data[...] -= np.float32(value) * param.diff
            param.diff[...] = 0
    else:
        run.session.reshape()


def facts(blob: Blob) -> tuple[tuple[int, ...], int, bytes, bytes]:
    return blob.shape, blob.capacity, blob.data.tobytes(), blob.diff.tobytes()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, seed=st.integers(0, 1000), staged=st.booleans())
def test_a_layer_with_state_gives_the_same_bits_as_in_process(
    reference: Host, remote: Host, steps: list[tuple[str, object]], seed: int, staged: bool
) -> None:
    remote.allocate = heap if staged else shared
    runs = [host.start("Recurrent", [np.ones((1, 3))], tops=2, param_str="x" * seed) for host in (reference, remote)]
    try:
        for step, value in [("forward", np.ones((2, 3), np.float32)), *steps]:
            for run in runs:
                do(run, step, value)
            local, far = ([facts(blob) for blob in (*run.bottom, *run.top, *run.params)] for run in runs)
            assert local == far
    finally:
        reference.close_runs()
        remote.close_runs()
