"""The command line of the headless client, and its exit codes."""

import argparse
import json
import math
import os
import re
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from gui.answers import ClientError, SettingError, one_line
from gui.checks import checked_token, checked_url
from gui.client import MAX_SERVER_ERRORS, Client, Reply
from gui.terminal.asking import Patience, Question, ending
from gui.terminal.chat import Chat, message
from gui.terminal.prompts import UsageError, checked_text, prompt_of, token_of
from gui.terminal.screen import OutputError, Screen, scrubbed
from gui.terminal.stops import Stopped, Stops

DONE, FAILED, USAGE, REFUSED = 0, 1, 2, 3
CHAT = "chat"
EPILOG = """\
exit codes: 0 done; 1 failed, expired or cancelled, or the text could not be written; 2 usage;
3 refused, or nobody answered; 130 Ctrl-C (128 and its number for another signal).
A token on the command line can be seen by everybody on this machine: rather set $TLFIF_TOKEN, or
use --token-file. A prompt that begins with - goes after --, and so does the prompt "chat".
"""
# The API's own options, which it judges itself.
API_OPTIONS = ("idle_minutes", "max_tokens", "temperature", "top_p", "seed")
_KEY = re.compile(r"[!-~]{0,128}")


class _Parser(argparse.ArgumentParser):
    """argparse in one line, and without what may be a token."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"tl-fif: {scrubbed(message)}; --help says more\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; its exit code. argparse ends the process when the command line is wrong."""
    parser = _parser()
    with Stops() as stops:
        try:
            given = _parsed(parser, list(sys.argv[1:] if argv is None else argv))
            if given.help:
                return _helped(parser)
            return _run(given, Screen(quiet=given.quiet), stops)
        except Stopped as stopped:
            return stopped.code
        except SettingError as error:
            parser.exit(USAGE, f"tl-fif: {scrubbed(error)}\n")
        except UsageError as error:
            parser.error(str(error))


def _helped(parser: argparse.ArgumentParser) -> int:
    """argparse's own would end in a traceback where stdout takes no more."""
    try:
        Screen().write(parser.format_help())
    except OutputError:
        return FAILED
    return DONE


def _run(given: argparse.Namespace, screen: Screen, stops: Stops) -> int:
    """Raises UsageError, SettingError, Stopped."""
    url = checked_url(given.api)
    screen.secret = token = checked_token(given.token)
    patience = Patience(
        tries=given.tries,
        throttled_s=given.max_wait,
        options={
            name: value for name in API_OPTIONS if (value := getattr(given, name)) is not None
        },
    )
    system = checked_text(given.system or "")
    stops.told = lambda: screen.say("cancelled once it is accepted; Ctrl-C again ends at once")
    try:
        with Client(url, token) as client:
            if given.chat:
                return Chat(client, screen, stops, patience, system).run()
            prompt = prompt_of(given.prompt)
            asked = [message("system", system), message("user", prompt)] if system else prompt
            key = given.idempotency_key or str(uuid.uuid4())
            reply = _answered(Question(client, screen, stops), asked, key, patience, screen)
        return _ended(reply, given.output, screen)
    except OutputError:
        return FAILED
    except SettingError:
        raise
    except ClientError as error:
        screen.say(error)
        return REFUSED


def _answered(
    question: Question, asked: Any, key: str, patience: Patience, screen: Screen
) -> Reply:
    """The final reply; of a job that goes on unseen it says how it is found again."""
    try:
        return question.ask(asked, key, patience)
    except ClientError:
        if question.goes_on:
            screen.say(f"the same prompt with --idempotency-key {key} finds it again")
        raise


def _ended(reply: Reply, output: Path | None, screen: Screen) -> int:
    """Keeps the reply and says how it ended."""
    if reply.get("notice"):
        screen.note(reply["notice"])
    code = DONE if reply["status"] == "done" else FAILED
    if output:
        # Half a character is written as JSON writes it.
        text = json.dumps(reply, indent=2, ensure_ascii=False) + "\n"
        try:
            output.write_bytes(text.encode("utf-8", "backslashreplace"))
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            screen.say(f"--output {output} was not written: {why}")
            code = FAILED
    (screen.note if code == DONE else screen.say)(ending(reply))
    return code


def _parsed(parser: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    """The command line. Raises UsageError."""
    given, rest = parser.parse_known_args(argv)
    if given.help:
        return given
    if unknown := [each for each in rest if each.startswith("-") and each != "--"]:
        name = one_line(unknown[0].partition("=")[0], 30)
        raise UsageError(f"there is no option {name}; a prompt that begins with - goes after --")
    if [each for each in rest if each != "--"]:
        raise UsageError("there is more than one prompt: put it in quotes")
    given.chat = given.prompt == CHAT and "--" not in argv
    if given.chat and (given.idempotency_key or given.output):
        raise UsageError("--idempotency-key and --output are for one prompt, and not for a chat")
    if given.output and not _can_be_written(given.output):
        raise UsageError(f"--output {given.output}: it is a folder, or in none")
    given.token = token_of(given.token, given.token_file)
    if not given.api or not given.token:
        missing = "--api or $TLFIF_API" if not given.api else "--token-file or $TLFIF_TOKEN"
        raise UsageError(f"{missing} is needed; `make local` prints both")
    return given


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m gui.client",
        description="Post a prompt and print its reply as it is generated; or chat.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    add = parser.add_argument
    add("-h", "--help", action="store_true", help="this")
    add("prompt", nargs="?", help="the prompt, or `chat`; - or nothing: what stdin has")
    add("--api", default=os.environ.get("TLFIF_API"), help="the stack's api_url (or $TLFIF_API)")
    tokens = parser.add_mutually_exclusive_group()
    tokens.add_argument("--token", help="an access token (better: $TLFIF_TOKEN)")
    tokens.add_argument("--token-file", metavar="FILE", help="a file that has the token alone")
    add("--system", metavar="TEXT", help="what the model is told before the conversation")
    add("--idle-minutes", type=int, help="keep the node up this long afterwards (1-30)")
    add("--max-tokens", type=int, help="the longest answer (1-1024)")
    add("--temperature", type=_figure, help="0 for the likeliest answer, up to 2")
    add("--top-p", type=_figure, help="0.01 to 1")
    add("--seed", type=int, help="the same answer again, where the engine can")
    key = "one job, however often the prompt is posted with it"
    add("--idempotency-key", type=_key, metavar="KEY", help=key)
    tries = "how often to post while the server fails (default: %(default)s)"
    add("--tries", type=int, choices=range(1, MAX_SERVER_ERRORS + 1), default=1, help=tries)
    wait = "seconds to wait in all while the API says 429 (default: %(default)g)"
    add("--max-wait", type=_figure, default=120.0, metavar="S", help=wait)
    add("--output", type=Path, metavar="FILE", help="a file for the reply as JSON")
    add("--quiet", action="store_true", help="no progress and no figures on stderr")
    return parser


def _can_be_written(file: Path) -> bool:
    """Whether it looks so, before there is a reply to lose."""
    try:
        return file.parent.is_dir() and not file.is_dir()
    except (OSError, ValueError):
        return False


def _figure(text: str) -> float:
    value: Any = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


_figure.__name__ = "number"


def _key(text: str) -> str:
    if not _KEY.fullmatch(text):
        raise argparse.ArgumentTypeError("1 to 128 printable ASCII characters; a UUID, say")
    return text
