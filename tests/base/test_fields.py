"""Fields of JSON objects, taken out with their types."""

import pytest

from vouch.base.fields import Fields

CONTENT = {
    "text": "a",
    "number": 1.5,
    "count": 3,
    "truth": True,
    "none": None,
    "list": [1, 2],
    "texts": ["a"],
    "in": {},
}
ASKED = {
    "text": {"text"},
    "number": {"number", "count"},
    "count": {"count"},
    "truth": {"truth"},
    "values": {"list", "texts"},
    "texts": {"texts"},
    "numbers": {"list"},
    "fields": {"in"},
}


@pytest.mark.parametrize("kind", ASKED)
def test_only_the_type_that_is_asked_for_is_given(kind):
    fields = Fields(CONTENT)
    for name in fields.names():
        if name in ASKED[kind]:
            getattr(fields, kind)(name)
        else:
            with pytest.raises(ValueError, match=f"'{name}' is not"):
                getattr(fields, kind)(name)


def test_what_is_missing_or_no_object():
    with pytest.raises(KeyError):
        Fields(CONTENT).number("absent")
    with pytest.raises(ValueError, match="it is not an object"):
        Fields([1])
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not a finite number"):
            Fields({"x": value}).number("x")
    with pytest.raises(ValueError, match="at least 1"):
        Fields({"x": 0}).count("x", 1)
