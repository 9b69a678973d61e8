import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlayer.engine.data.window_crop import Placement, WindowCrop
from farlayer.protos.errors import InputError

IMAGE = (40, 60)


def placed(
    box: tuple[int, int, int, int], *, context_pad: int = 0, square: bool = False, mirrored: bool = False
) -> Placement:
    return WindowCrop(20, context_pad, square).place(box, IMAGE, mirrored=mirrored, name="x")


def test_without_context_the_window_itself_is_stretched() -> None:
    assert placed((5, 6, 14, 25)) == Placement(slice(6, 26), slice(5, 15), (20, 20), (0, 0))


def test_context_is_added_in_proportion_to_the_window() -> None:
    # Of 20 pixels 5 on each side are context, so twice the window is seen: 10 to 29 becomes 0 to 40 (both counted in).
    assert placed((20, 10, 29, 29), context_pad=5) == Placement(slice(0, 40), slice(15, 36), (20, 20), (0, 0))


def test_a_square_is_cut_out_around_the_longer_side() -> None:
    assert placed((20, 15, 39, 24), square=True) == Placement(slice(10, 31), slice(20, 41), (20, 20), (0, 0))


def test_what_is_outside_stays_free_at_its_side() -> None:
    # 40 wide around the middle at 5: from -15 to 25, of which 26 of 41 pixels are inside.
    left = placed((-5, 10, 14, 29), context_pad=5)
    assert left == Placement(slice(0, 40), slice(0, 26), (20, 13), (0, 7))
    right = placed((45, 10, 64, 29), context_pad=5)
    assert right == Placement(slice(0, 40), slice(35, 60), (20, 12), (0, 0))


def test_mirrored_it_is_free_at_the_other_side() -> None:
    assert placed((-5, 10, 14, 29), context_pad=5, mirrored=True).corner == (0, 0)
    assert placed((45, 10, 64, 29), context_pad=5, mirrored=True).corner == (0, 8)


def ends(size: int) -> st.SearchStrategy[list[int]]:
    """The first and the last pixel of a window along an axis."""
    return st.lists(st.integers(0, size - 1), min_size=2, max_size=2).map(sorted)


@settings(max_examples=50, deadline=None)
@given(ends(60), ends(40), st.integers(0, 9), st.booleans(), st.booleans())
def test_any_window_in_the_image_fits_the_square(
    xs: list[int], ys: list[int], context_pad: int, square: bool, mirrored: bool
) -> None:
    (x1, x2), (y1, y2) = xs, ys
    place = placed((x1, y1, x2, y2), context_pad=context_pad, square=square, mirrored=mirrored)
    assert 0 <= place.rows.start < place.rows.stop <= IMAGE[0]
    assert 0 <= place.columns.start < place.columns.stop <= IMAGE[1]
    assert place.rows.start <= y1
    assert place.columns.start <= x1
    assert 0 <= place.corner[0] < place.corner[0] + place.size[0] <= 20
    assert 0 <= place.corner[1] < place.corner[1] + place.size[1] <= 20


@pytest.mark.parametrize(
    ("box", "context_pad"),
    [
        ((-1, 0, 5, 5), 0),
        ((0, -1, 5, 5), 0),
        ((0, 0, 60, 5), 0),
        ((0, 0, 5, 40), 0),
        ((5, 0, 4, 5), 0),
        ((100, 0, 120, 5), 2),
        ((0, -50, 10, -30), 2),
    ],
)
def test_a_window_outside_its_image_is_refused_by_name(box: tuple[int, int, int, int], context_pad: int) -> None:
    with pytest.raises(InputError, match="x does not lie in the image, which is 40 high and 60 wide"):
        placed(box, context_pad=context_pad)
