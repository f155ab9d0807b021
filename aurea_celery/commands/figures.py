"""Figures for people: money, sizes, shares and names, in a few characters and never better than they are."""

from __future__ import annotations

from decimal import Decimal

LEAST_USD = Decimal("0.000001")


def usd(value: Decimal) -> str:
    """A sum in USD: cents, or of less than ten cents two digits.

    >>> [usd(Decimal(text)) for text in ("1234.567", "0.00123", "0.06", "0", "1e-9")]
    ['$1,234.57', '$0.0012', '$0.06', '$0.00', '<$0.000001']
    """
    if 0 < value < LEAST_USD:
        return f"<${LEAST_USD}"
    places = max(2, 1 - value.adjusted()) if value else 2
    whole, _, cents = f"{value:,.{places}f}".partition(".")
    return f"${whole}.{cents.rstrip('0').ljust(2, '0')}"


def bytes_text(count: int) -> str:
    """A size in the largest unit that it fills.

    >>> [bytes_text(count) for count in (0, 1023, 1024, 5_400_000, 3 * 2**40)]
    ['0 B', '1023 B', '1.0 KiB', '5.1 MiB', '3,072.0 GiB']
    """
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count} B"


def percent(part: Decimal | int, whole: Decimal | int) -> str:
    """A share in whole percent; something is not nothing, and not all is not 100 %.

    >>> percent(1, 3), percent(1, 1000), percent(999, 1000), percent(0, 7)
    ('33 %', '<1 %', '>99 %', '0 %')
    """
    if 0 < part * 100 < whole:
        return "<1 %"
    if whole * 99 < part * 100 < whole * 100:
        return ">99 %"
    return f"{part * 100 / whole:.0f} %"


def printable(name: str, most_characters: int = 60) -> str:
    r"""A name in one line of a terminal, whatever it holds; a long one is cut.

    >>> print(printable("red " + chr(27)), printable("abcdef", 4))
    red \x1b abc…
    """
    text = name if name.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
    return text if len(text) <= most_characters else f"{text[: most_characters - 1]}…"
