"""An answer's text, handed out in pieces that are never taken back."""

from collections.abc import Sequence


class BeganAnewError(Exception):
    """Another worker took the job over, and its answer does not begin with what was handed out."""


class Pieces:
    """Turns the text so far into what has been added to it.

    What may still change is held back: half of a character, and what may be the beginning of one of
    the `stops`, at the first of which the text ends. `stopped`: it has.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._stops = [stop for stop in stops if stop]
        self.handed_out = ""
        self.stopped = False

    def take(self, text: str, *, final: bool) -> str:
        """What is new; '' also while a worker that began again has not come so far yet.

        Raises BeganAnewError.
        """
        text = self._until_stop(_whole(text, final=final))
        if not final and not self.stopped:
            text = self._without_beginnings(text)
        if text.startswith(self.handed_out):
            piece = text[len(self.handed_out) :]
            self.handed_out = text
            return piece
        if final or self.stopped or not self.handed_out.startswith(text):
            raise BeganAnewError
        return ""

    def _until_stop(self, text: str) -> str:
        ends = [end for stop in self._stops if (end := text.find(stop)) >= 0]
        self.stopped = bool(ends)
        return text[: min(ends)] if ends else text

    def _without_beginnings(self, text: str) -> str:
        """Without an end with which a stop may begin."""
        for length in range(max(map(len, self._stops), default=1) - 1, 0, -1):
            end = text[-length:]
            if len(end) == length and any(stop.startswith(end) for stop in self._stops):
                return text[:-length]
        return text


def _whole(text: str, *, final: bool) -> str:
    """Text that can be encoded: pairs of surrogates joined, single ones replaced; without an end
    that may be half of a character, unless that is all there will be.
    """
    if not final:
        text = text.rstrip("\ufffd")
        if text and "\ud800" <= text[-1] <= "\udbff":
            text = text[:-1]
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
