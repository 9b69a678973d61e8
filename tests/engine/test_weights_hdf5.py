from pathlib import Path

import h5py
import numpy as np
import pytest

from farlayer.engine.weights import load_weights, save_weights
from farlayer.protos.errors import SnapshotError
from tests.engine.support import native_net
from tests.engine.test_weights import SHARED, net


def contents(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and type of every dataset, by its path; groups that are empty too."""
    found: dict[str, tuple[tuple[int, ...], str]] = {}

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = (item.shape, item.dtype.str)
        elif not len(item):
            found[name] = ((), "group")

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def test_a_file_holds_a_group_for_each_layer_and_its_params_as_caffe_has_them(tmp_path: Path) -> None:
    save_weights(net(), tmp_path / "w", hdf5=True)
    assert contents(tmp_path / "w") == {
        "data/data": ((), "group"),
        "data/ip/0": ((4, 3), "<f4"),
        "data/ip/1": ((4,), "<f4"),
        "data/y_ip_0_split": ((), "group"),
        "data/a": ((), "group"),
        "data/b": ((), "group"),
    }


def test_of_shared_params_the_owners_data_is_written_and_every_diff(tmp_path: Path) -> None:
    save_weights(net(1, SHARED), tmp_path / "w", hdf5=True, with_diff=True)
    params = {name for name, (_, kind) in contents(tmp_path / "w").items() if kind != "group"}
    assert params == {
        "data/one/0",
        "data/one/1",
        "data/two/1",
        "diff/one/0",
        "diff/one/1",
        "diff/two/0",
        "diff/two/1",
    }


@pytest.mark.parametrize("name", ["inception_3a/1x1", "a/b/c"])
def test_names_with_slashes_become_groups_in_groups(tmp_path: Path, name: str) -> None:
    text = f"""
    layer {{ name: "data" type: "Input" top: "x" input_param {{ shape {{ dim: 2 dim: 3 }} }} }}
    layer {{ name: "{name}" type: "InnerProduct" bottom: "x" top: "y" inner_product_param {{ num_output: 4
             weight_filler {{ type: "gaussian" }} }} }}
    """
    source, target = native_net(text, seed=1), native_net(text, seed=2)
    save_weights(source, tmp_path / "w", hdf5=True)
    assert f"data/{name}/0" in contents(tmp_path / "w")
    load_weights(target, tmp_path / "w")
    np.testing.assert_array_equal(target.learnable_params[0].data, source.learnable_params[0].data)


def written(path: Path, datasets: dict[str, object]) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
    return path


WEIGHTS, BIAS = np.ones((4, 3)), np.full(4, 2)


def test_any_kind_of_number_is_read_and_layers_that_the_net_lacks_are_ignored(tmp_path: Path) -> None:
    target = net()
    path = written(tmp_path / "w", {"data/ip/0": WEIGHTS.astype(">f8"), "data/ip/1": BIAS, "data/other/0": WEIGHTS})
    load_weights(target, path)
    assert (target.learnable_params[0].data == 1).all()
    assert (target.learnable_params[1].data == 2).all()


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ({"data/ip/0": WEIGHTS}, "layer 'ip' has 2 params of shapes .* but .* has 1 for it"),
        ({"data/ip/0": WEIGHTS, "data/ip/1": BIAS, "data/ip/2": BIAS}, "layer 'ip' has 2 params .* has 3 for it"),
        ({"data/ip/0": WEIGHTS.T, "data/ip/1": BIAS}, r"param 0 of layer 'ip' has shape \(4, 3\), but .* \(3, 4\)"),
        # Unlike a .caffemodel, HDF5 never held the shapes of before 2014.
        ({"data/ip/0": WEIGHTS[None, None], "data/ip/1": BIAS}, r"but in .* it has shape \(1, 1, 4, 3\)"),
        ({"data/ip/0": WEIGHTS, "data/ip/bias": BIAS}, "expected a number, the place of a param, at '/data/ip/bias'"),
        ({"data/ip/0": "words", "data/ip/1": BIAS}, "expected a dataset of numbers at '/data/ip/0', but it is <HDF5"),
        ({"data": WEIGHTS}, "has no group 'data'; it has: data"),
        ({"layers/ip/0": WEIGHTS}, "has no group 'data'; it has: layers"),
        ({}, "has no group 'data'; it has: nothing"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, datasets: dict[str, object], message: str) -> None:
    with pytest.raises(SnapshotError, match=message) as caught:
        load_weights(net(), written(tmp_path / "w", datasets))
    assert caught.value.remedy


def test_a_layer_whose_group_is_empty_lacks_its_params(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w", "w") as file:
        file.create_group("data/ip")
    with pytest.raises(SnapshotError, match=r"layer 'ip' has 2 params .* has 0 for it"):
        load_weights(net(), tmp_path / "w")


def test_layers_of_one_name_cannot_be_written(tmp_path: Path) -> None:
    source = net()
    source.layers[3].name = "ip/0"  # a group where a dataset is
    with pytest.raises(SnapshotError, match="layer 'ip/0' cannot be written to the HDF5 file") as caught:
        save_weights(source, tmp_path / "w", hdf5=True)
    assert "BINARYPROTO" in caught.value.remedy
    assert not list(tmp_path.iterdir())
