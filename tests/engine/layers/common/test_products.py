import numpy as np
import pytest

from farlayer.engine.layers.common import products
from farlayer.engine.layers.common.products import add_product
from farlayer.engine.scratch import Scratch


@pytest.mark.parametrize("bound", [1, 7, 1 << 20])
@pytest.mark.parametrize("shape", [(4, 5, 3), (1, 1, 1), (0, 5, 3), (4, 0, 3), (4, 5, 0)])
def test_products_are_added_whatever_is_computed_at_a_time(
    shape: tuple[int, int, int], bound: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "_PRODUCT_VALUES", bound)
    num, rows, columns = shape
    rng = np.random.default_rng(1)
    left, right, before = (
        rng.standard_normal(size, np.float32) for size in ((num, rows), (num, columns), (rows, columns))
    )
    total, workspace = before.copy(), Scratch()
    add_product(left, right, total, workspace)
    expected = before.astype(np.float64) + left.astype(np.float64).T @ right.astype(np.float64)
    np.testing.assert_allclose(total, expected, rtol=1e-5, atol=1e-5)
    assert workspace.size_bytes <= 4 * max(bound, columns)
