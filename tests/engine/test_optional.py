import sys

import pytest

from farlayer.engine.optional import find, need
from farlayer.protos.errors import InputError


def test_a_module_that_is_there_is_given() -> None:
    assert need("h5py", "an HDF5 file") is sys.modules["h5py"]
    assert find("h5py") is sys.modules["h5py"]


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("PIL.Image", "Pillow", "image"),
        ("cv2", "opencv-python-headless", "opencv"),
        ("h5py", "h5py", "hdf5"),
        ("lmdb", "lmdb", "lmdb"),
        ("plyvel", "plyvel", "leveldb"),
    ],
)
def test_a_missing_one_is_told_with_its_extra(
    module: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert find(module) is None
    with pytest.raises(InputError, match=f"reading a thing needs the package {package}") as error:
        need(module, "reading a thing")
    assert error.value.remedy == f"python -m pip install 'farlayer[{extra}]'"
