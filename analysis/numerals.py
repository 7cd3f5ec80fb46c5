"""How numbers are written wherever somebody reads them: on pages, in exports, by the command, by snippets.

Three significant digits, a true minus sign, powers of ten below a ten-thousandth. `dashboard/components/dom.js` has the
same rule for what the browser writes; plotly's format ".3r" is the same without the powers.
"""

import math

LEAST_POWER = -4
"""Smaller numbers are written as powers of ten."""


def number(value: float) -> str:
    """Three significant digits; "–" for what is no number.

    >>> number(0.20049), number(-0.000698), number(1234.0), number(38.0), number(0.0), number(1.5e-6)
    ('0.200', '−0.000698', '1230', '38.0', '0', '1.50e−6')
    """
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    mantissa, exponent = f"{abs(value):.2e}".split("e")
    power = int(exponent)
    if power < LEAST_POWER:
        text = f"{mantissa}e−{-power}"
    else:
        text = f"{float(f'{abs(value):.2e}'):.{max(0, 2 - power)}f}"
    return f"−{text}" if value < 0 else text


def signed(value: float) -> str:
    """`number` with a plus sign before what is positive.

    >>> signed(0.2), signed(-0.335), signed(0.0)
    ('+0.200', '−0.335', '0')
    """
    return f"+{number(value)}" if value > 0 else number(value)


def auc(value: float) -> str:
    """A flip AUC with two decimals; with four where two would hide on which side of 0.5 it lies.

    >>> auc(0.944), auc(0.4988), auc(0.5)
    ('0.94', '0.4988', '0.50')
    """
    text = f"{value:.2f}"
    return f"{value:.4f}" if text == "0.50" and value != 0.5 else text
