"""Numbers as people read them."""

import pytest

from farlayer.cli import formats


@pytest.mark.parametrize(
    ("value_s", "text"),
    [
        (0.0, "0.00 us"),
        (1.234e-6, "1.23 us"),
        (99.94e-6, "99.9 us"),
        (99.96e-6, "100 us"),
        (999.4e-6, "999 us"),
        (999.6e-6, "1.00 ms"),
        (0.0123, "12.3 ms"),
        (0.9996, "1.00 s"),
        (75.0, "75.0 s"),
    ],
)
def test_durations_have_three_digits_and_the_unit_that_fits(value_s: float, text: str) -> None:
    assert formats.seconds(value_s) == text


@pytest.mark.parametrize(
    ("value_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.50 KiB"),
        (1024 * 1023.9, "1.00 MiB"),
        (45.12 * 1024**2, "45.1 MiB"),
        (3 * 1024**3, "3.00 GiB"),
        (5 * 1024**4, "5.00 TiB"),
    ],
)
def test_sizes_have_three_digits_and_the_unit_that_fits(value_bytes: float, text: str) -> None:
    assert formats.size(value_bytes) == text


def test_scores_name_every_output_and_cut_long_ones() -> None:
    assert formats.scores({"accuracy": [0.98765], "loss": [0.1]}) == "accuracy = 0.98765, loss = 0.1"
    assert formats.scores({"p": [float(i) for i in range(100)]}) == "p = 0 1 2 3 4 5 6 7 ... (100 values)"
    assert formats.scores({}) == "no outputs"
