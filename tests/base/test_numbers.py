"""Text that is a number, and text that Python alone takes for one."""

import math

import pytest

from vouch.base.numbers import plain_float, plain_int


def test_numbers():
    assert [plain_float(text) for text in ("1", "-2.5", "+.5e-3", "7.", "inf")] == [1, -2.5, 0.0005, 7, math.inf]
    assert math.isnan(plain_float("nan"))
    assert [plain_int(text) for text in ("0", "-12", "+3", "0007", str(2**63 - 1))] == [0, -12, 3, 7, 2**63 - 1]


@pytest.mark.parametrize("text", ["", "1_000", "１２", "٣", "²", "1 000", "0x10", "one", "1,5"])
def test_what_is_none(text):
    for read in (plain_float, plain_int):
        with pytest.raises(ValueError):
            read(text)


@pytest.mark.parametrize("text", ["1.0", "1e3", "9" * 19, "9" * 5000, str(2**63)])
def test_what_is_no_whole_number_of_64_bits(text):
    with pytest.raises(ValueError, match="is not a whole number"):
        plain_int(text)
