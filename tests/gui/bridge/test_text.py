"""An answer in pieces: they add up to it, and none is ever taken back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gui.bridge.protocol.text import BeganAnewError, Pieces

PARTS = ["a", "\n", "data:", "é", "😀", "\ufffd", "\u2028", "EN", "D"]
TEXT = st.lists(st.sampled_from(PARTS), max_size=20).map("".join)


def pieces_of(looks: list[str], *stops: str) -> list[str]:
    pieces = Pieces(stops)
    last = len(looks) - 1
    return [pieces.take(look, final=number == last) for number, look in enumerate(looks)]


@given(text=TEXT, cuts=st.lists(st.integers(0, 60), max_size=8))
def test_pieces_add_up_to_the_text_wherever_it_is_looked_at(text: str, cuts: list[int]) -> None:
    """Also between the halves of a character, as JSON may carry them."""
    units = text.encode("utf-16-le")
    looks = [units[: 2 * cut].decode("utf-16-le", "surrogatepass") for cut in sorted(cuts)]
    taken = pieces_of([*looks, text])
    assert "".join(taken) == text
    for piece in taken:
        json.loads(json.dumps(piece)).encode()


@given(text=TEXT, cuts=st.lists(st.integers(0, 30), max_size=8))
def test_a_stop_ends_the_text_before_it_wherever_it_is_looked_at(
    text: str, cuts: list[int]
) -> None:
    looks = [text[:cut] for cut in sorted(cuts)]
    assert "".join(pieces_of([*looks, text], "END", "a\n")) == text.split("END")[0].split("a\n")[0]


def test_what_may_be_half_of_something_is_held_back() -> None:
    pieces = Pieces(["END"])
    assert pieces.take("x\ufffd", final=False) == "x"
    assert pieces.take("x\ud83d", final=False) == ""
    assert pieces.take("x😀 EN", final=False) == "😀 "
    assert pieces.take("x😀 ENOUGH", final=False) == "ENOUGH"
    assert not pieces.stopped
    assert pieces.take("x😀 ENOUGH\ud83d", final=True) == "\ufffd"


def test_a_worker_that_begins_again_with_the_same_words_goes_on_where_the_first_was() -> None:
    assert pieces_of(["One two", "", "One", "One two three", "One two three."]) == [
        *("One two", "", "", " three", ".")
    ]


@pytest.mark.parametrize("looks", [["One two", "Once"], ["One two", "One"], ["One", "Two", ""]])
def test_a_worker_that_begins_again_in_other_words_is_not_mixed_with_the_first(
    looks: list[str],
) -> None:
    with pytest.raises(BeganAnewError):
        pieces_of(looks)
