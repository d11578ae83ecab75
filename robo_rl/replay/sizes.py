"""Numbers as people read them."""

from __future__ import annotations


def grouped(number: int) -> str:
    """Return a number with a space between thousands.

    Example:
        >>> grouped(200000)
        '200 000'
    """
    return f"{number:,}".replace(",", " ")


def byte_size(count: int) -> str:
    """Return a number of bytes in the unit that fits.

    Example:
        >>> byte_size(2_500_000)
        '2.5 MB'
    """
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
