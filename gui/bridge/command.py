"""The bridge: OpenAI's chat completions on loopback, answered by a stack of tl-fif's.

    python -m gui.bridge --api https://….amazonaws.com/v1 --client-id ID --region eu-west-1 \\
        --user you@example.com

It asks for the password, or takes it from $TLFIF_PASSWORD, and prints how clients reach it.
"""

import argparse
import asyncio
import getpass
import ipaddress
import os
import socket
import sys
from collections.abc import Sequence

import httpx

from gui.answers import SettingError, one_line
from gui.bridge import keys
from gui.bridge.app import MODEL, Access, Bridge
from gui.bridge.errors import UPSTREAM, ApiError, SignInError
from gui.bridge.serving import serve
from gui.bridge.stack.api import Api
from gui.bridge.stack.cognito import SignIn
from gui.checks import checked_url, is_loopback

PORT = 8787
NEXT = """tl-fif: {user} is signed in; OpenAI's API is at {url}, model {model}. For clients:

  export OPENAI_BASE_URL={url}
  export OPENAI_API_KEY={key}

Ctrl-C stops it, and cancels what runs."""


class CommandError(RuntimeError):
    """The bridge cannot be had; the message names what was refused, its value and the fix."""


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until Ctrl-C: 0; 1 with one line of error, 130 when it is interrupted before."""
    given = _parser().parse_args(argv)
    try:
        _check(given)
        key = keys.key(os.environ)
        password = _password(given.user)
        with _listen(given.host, given.port) as listener:
            asyncio.run(_run(given, key, password, listener))
    except (CommandError, keys.KeyFileError) as error:
        print(f"tl-fif: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, EOFError):
        print("\ntl-fif: stopped", file=sys.stderr)
        return 130
    print("tl-fif: the bridge has stopped; nothing of its runs any more")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gui.bridge",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    told = os.environ.get
    region = told("AWS_REGION") or told("AWS_DEFAULT_REGION")
    parser.add_argument("--api", default=told("TLFIF_API"), help="the stack's api_url")
    client = "the stack's user_pool_client_id (or $TLFIF_CLIENT_ID)"
    parser.add_argument("--client-id", default=told("TLFIF_CLIENT_ID"), help=client)
    parser.add_argument("--region", default=region, help="where the user pool is")
    cognito = "Cognito's address, if it is not the region's (or $AWS_ENDPOINT_URL)"
    parser.add_argument("--cognito", default=told("AWS_ENDPOINT_URL"), help=cognito)
    user = "who signs in (or $TLFIF_USER); the password is in $TLFIF_PASSWORD, or asked for"
    parser.add_argument("--user", default=told("TLFIF_USER"), metavar="EMAIL", help=user)
    parser.add_argument("--port", type=int, default=PORT, help="default: %(default)s; 0: any")
    host = "the address to listen at (default: %(default)s)"
    parser.add_argument("--host", default="127.0.0.1", help=host)
    expose = "let --host be an address that others reach; they need the key, and there is no TLS"
    parser.add_argument("--expose", action="store_true", help=expose)
    name = "a name by which clients call this machine, such as host.docker.internal"
    parser.add_argument("--allow-host", action="append", default=[], metavar="NAME", help=name)
    origin = "a page that may ask, such as http://localhost:3000 (CORS); none does otherwise"
    parser.add_argument("--allow-origin", action="append", default=[], metavar="URL", help=origin)
    model = "the name by which clients know the model (default: %(default)s)"
    parser.add_argument("--model", default=MODEL, help=model)
    return parser


def _check(given: argparse.Namespace) -> None:
    """Raises CommandError."""
    for name, value, fix in (
        ("--api", given.api, "the stack's output api_url, or $TLFIF_API"),
        ("--client-id", given.client_id, "the stack's output user_pool_client_id"),
        ("--user", given.user, "who signs in, or $TLFIF_USER; make user makes one"),
        ("--region", given.region or given.cognito, "where the user pool is, or $AWS_REGION"),
        ("--model", given.model, "a name, or nothing"),
    ):
        if not value:
            raise CommandError(f"{name} is missing: {fix}")
    given.cognito = given.cognito or f"https://cognito-idp.{given.region}.amazonaws.com/"
    given.api, given.cognito = _url("--api", given.api), _url("--cognito", given.cognito)
    # As browsers name a page's origin.
    given.allow_origin = [each.rstrip("/") for each in given.allow_origin]
    for each in given.allow_host:
        name, colon, _ = each.partition(":")
        if colon and not _is_address(each):
            raise CommandError(f"--allow-host {each} is no name alone: {name}, which has any port")
    if not 0 <= given.port <= 65_535:
        raise CommandError(f"--port {given.port} is none: from 0 to 65535")
    if not _is_loopback(given.host) and not given.expose:
        raise CommandError(
            f"--host {given.host} can be reached by others than this machine: 127.0.0.1, or "
            "--expose, if they shall"
        )


def _url(name: str, text: str) -> str:
    try:
        url = checked_url(text, name)
    except SettingError as error:
        raise CommandError(str(error)) from error
    if url.startswith("http:") and not is_loopback(url):
        # The token is sent there, or the password.
        raise CommandError(f"{name} {url} is not encrypted: https://, or an address on loopback")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_address(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        return False


def _password(user: str) -> str:
    """From the environment or the terminal; raises CommandError where there is neither."""
    if password := os.environ.get("TLFIF_PASSWORD"):
        return password
    if not sys.stdin.isatty():
        raise CommandError(f"there is no terminal to ask for {user}'s password: $TLFIF_PASSWORD")
    password = getpass.getpass(f"Password of {user}: ")
    if not password:
        raise CommandError(f"no password was given for {user}")
    return password


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        why = (error.strerror or type(error).__name__).partition(" (")[0]
        raise CommandError(f"--host {host} --port {port}: {why}; choose another") from error


async def _run(given: argparse.Namespace, key: str, password: str, listener: socket.socket) -> None:
    async with _http(given.cognito) as cognito, _http(given.api) as http:
        sign_in = SignIn(cognito, given.cognito, given.client_id, given.user, password)
        api = Api(http, given.api, sign_in)
        await _try(api, given.api)
        access = Access(
            key=key,
            hosts=[given.host, *given.allow_host],
            any_address=given.expose,
            origins=given.allow_origin,
        )
        bridge = Bridge(api, access, _say, model=given.model)
        print(_help(given, listener), flush=True)
        await serve(bridge, listener)


def _http(url: str) -> httpx.AsyncClient:
    """A client for a URL, without the environment's proxies on loopback: it sends secrets."""
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=20)
    try:
        return httpx.AsyncClient(limits=limits, trust_env=not is_loopback(url))
    except (ImportError, OSError, ValueError, httpx.InvalidURL) as error:
        why = f"the environment's proxy or certificates cannot be used: {one_line(error)}"
        raise CommandError(why) from error


async def _try(api: Api, url: str) -> None:
    """Signs in, and asks the API once; raises CommandError."""
    try:
        await api.status()
    except SignInError as error:
        raise CommandError(str(error)) from error
    except ApiError as error:
        hint = "; the URL ends in the stage, /v1" if error.status in (403, 404) else ""
        raise CommandError(f"--api {url} answers {error}{hint}") from error
    except UPSTREAM as error:
        why = type(error).__name__
        raise CommandError(f"--api {url} does not answer as a stack does ({why})") from error


def _help(given: argparse.Namespace, listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    url = f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"
    given_key = keys.VARIABLE in os.environ
    key = f"${keys.VARIABLE}" if given_key else f"$(cat '{keys.path(os.environ)}')"
    return NEXT.format(user=given.user, url=url, model=given.model, key=key)


def _say(text: str) -> None:
    print(f"tl-fif: {text}", file=sys.stderr, flush=True)
