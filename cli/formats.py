"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_VALUES_SHOWN = 8
_KIB = 1024


def seconds(value_s: float) -> str:
    """A duration with three digits: "35.2 us", "1.24 ms", "8.31 s"."""
    for factor, unit in ((1e6, "us"), (1e3, "ms")):
        if value_s * factor < 999.5:  # what would be rounded to 1000 belongs to the next unit
            return f"{_three_digits(value_s * factor)} {unit}"
    return f"{_three_digits(value_s)} s"


def size(value_bytes: float) -> str:
    """A number of bytes with three digits: "0 B", "1.50 KiB", "45.1 MiB"."""
    if value_bytes < _KIB:
        return f"{value_bytes:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        value_bytes /= _KIB
        if value_bytes < 999.5:
            return f"{_three_digits(value_bytes)} {unit}"
    return f"{_three_digits(value_bytes / _KIB)} TiB"


def scores(outputs: Mapping[str, Sequence[float]]) -> str:
    """Outputs of a net: "accuracy = 0.98, loss = 0.07"; of long ones the first values."""
    return ", ".join(f"{name} = {_values(values)}" for name, values in outputs.items()) or "no outputs"


def _values(values: Sequence[float]) -> str:
    shown = " ".join(f"{value:.5g}" for value in values[:_VALUES_SHOWN])
    return shown + (f" ... ({len(values)} values)" if len(values) > _VALUES_SHOWN else "")


def _three_digits(value: float) -> str:
    if value < 9.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
