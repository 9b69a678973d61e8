import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from farlayer.engine.layers.vision.pool_phases import PoolPhases
from farlayer.engine.layers.vision.pool_windows import PoolWindows
from farlayer.engine.scratch import Scratch
from tests.engine.layers.vision.test_pool_windows import pool_windows


@settings(max_examples=100, deadline=None)
@given(pool_windows(), st.integers(1, 3))
def test_an_element_of_the_kernel_sees_one_stretch(windows: PoolWindows, planes: int) -> None:
    images = np.arange(1, 1 + planes * np.prod(windows.size), dtype=np.float32).reshape(planes, *windows.size)
    phases = PoolPhases(windows, Scratch())
    flat = phases.gather(images, -1)
    far = tuple((0, p + k * s) for p, k, s in zip(windows.pad, windows.kernel, windows.stride, strict=True))
    padded = np.pad(
        images, [(0, 0), *((p, end) for p, (_, end) in zip(windows.pad, far, strict=True))], constant_values=-1
    )
    for row, column in itertools.product(*map(range, windows.kernel)):
        (down, shift_down), (right, shift_right) = phases.along_height(row), phases.along_width(column)
        shift = shift_down + shift_right
        seen = np.append(flat[down, right, shift:], np.full(shift, -2, np.float32))
        expected = padded[:, row :: windows.stride[0], column :: windows.stride[1]]
        rows, columns = windows.pooled
        np.testing.assert_array_equal(phases.per_window(seen), expected[:, :rows, :columns])


@settings(max_examples=100, deadline=None)
@given(pool_windows())
def test_scattered_phases_are_the_images_where_windows_lie(windows: PoolWindows) -> None:
    images = np.arange(1, 1 + 2 * np.prod(windows.size), dtype=np.float32).reshape(2, *windows.size)
    phases = PoolPhases(windows, Scratch())
    back = np.full_like(images, np.nan)
    phases.scatter(phases.gather(images, 0), back)
    for axis in (1, 2):
        pad, stride, kernel = windows.pad[axis - 1], windows.stride[axis - 1], windows.kernel[axis - 1]
        end = (windows.pooled[axis - 1] - 1) * stride - pad + kernel
        unseen = [place for place in range(images.shape[axis]) if place >= end or (place + pad) % stride >= kernel]
        np.moveaxis(images, axis, 0)[unseen] = 0
    seen = images != 0
    np.testing.assert_array_equal(back[seen], images[seen])
