"""Published nets give what the original Caffe gave; the recordings lie beside the checkout, not in it."""

from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from farlayer.engine.net import Net
from farlayer.engine.registry import known_types
from farlayer.protos import caffe_pb2
from tests.engine.support import native_net

FOLDER = Path(__file__).parents[3] / "shared" / "golden" / "nets"


def golden_nets() -> list[str]:
    """The recorded nets whose layer types the engine has."""
    known = set(known_types())
    paths = [path for path in sorted(FOLDER.glob("net_*.npz")) if set(np.load(path)["layer_types"]) <= known]
    return [path.stem.removeprefix("net_") for path in paths]


def draw(name: str) -> np.random.RandomState:
    return np.random.RandomState(crc32(name.encode()))


def fill_by_rule(net: Net) -> None:
    """Gives params and inputs the values of the rule that tests/golden/README.md states."""
    for layer in net.layers:
        for index, blob in enumerate(layer.params):
            values = draw(f"{layer.name}:{index}").randn(*blob.shape)
            scale = 0.1 if len(blob.shape) < 2 else np.sqrt(2 / (blob.count / blob.shape[0]))
            blob.data[...] = values * scale
    for name in net.inputs:
        net.blobs[name].data[...] = draw(f"in:{name}").randn(*net.blobs[name].shape)


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the recordings of published nets are not on this machine")
def test_lenet_is_among_the_nets_that_can_be_run() -> None:
    assert "lenet" in golden_nets()


@pytest.mark.parametrize("case", golden_nets())
def test_a_published_net_computes_what_caffe_computes(case: str) -> None:
    golden = np.load(FOLDER / f"net_{case}.npz")
    with native_net(str(golden["prototxt"]), caffe_pb2.TEST) as net:
        assert net.layer_names == list(golden["layer_names"])
        assert [node.layer.type_name for node in net.nodes] == list(golden["layer_types"])
        assert [" ".join(node.bottom_names) for node in net.nodes] == list(golden["bottoms"])
        assert [" ".join(node.top_names) for node in net.nodes] == list(golden["tops"])
        fill_by_rule(net)
        net.forward()
        for name, expected in zip(golden["blob_names"], golden["blob_mean_abs"], strict=True):
            assert np.abs(net.blobs[name].data).mean() == pytest.approx(expected, rel=1e-4), name
        for name in net.outputs:
            np.testing.assert_allclose(net.blobs[name].data, golden[f"out:{name}"], rtol=1e-4, atol=1e-5)
            net.blobs[name].diff[...] = draw(f"diff:{name}").randn(*net.blobs[name].shape)
        net.clear_param_diffs()
        net.backward()
        for name in net.inputs:
            expected = float(golden[f"indiff_mean_abs:{name}"])
            assert np.abs(net.blobs[name].diff).mean() == pytest.approx(expected, rel=1e-3), name
        norms = {
            f"{layer.name}:{index}": np.linalg.norm(blob.diff.astype(np.float64))
            for layer in net.layers
            for index, blob in enumerate(layer.params)
        }
        assert list(norms) == list(golden["param_names"])
        np.testing.assert_allclose(list(norms.values()), golden["param_diff_norms"], rtol=1e-3)
