"""The URL and the token that the headless client is given: what it can use of them, and what is
wrong with the others. No message has the token, or a password of the URL's.
"""

import base64
import ipaddress
import json
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpx

from gui.answers import SettingError, one_line

# The authorizer looks at no longer ones.
MAX_TOKEN_BYTES = 8192
_TOKEN = re.compile(r"(Bearer )?[!-~]+")
_ROUTE = re.compile(r"/(infer(/.*)?|status|stop|ping|queue-health)/*$")


def checked_url(text: str, what: str = "the API's URL") -> str:
    """A URL without a slash at its end; `what` it is. Raises SettingError."""
    url = text.strip()
    if wrong := _wrong_with(url):
        # Neither a user's password nor a query, which may be as secret.
        shown = one_line(re.sub(r"//.*@", "//…@", re.sub(r"[?#].*", "?…", url, flags=re.DOTALL)))
        raise SettingError(f"{what} {shown!r} {wrong}")
    scheme, separator, rest = url.partition("://")
    return f"{scheme.lower()}{separator}{rest}".rstrip("/")


def _wrong_with(url: str) -> str:
    if not url:
        return "is empty; it is the stack's api_url"
    if not all(each.isprintable() and each != " " for each in url):
        return "has blanks or control characters; leave them out"
    scheme, found, rest = url.partition("://")
    if not found:
        guess = "http" if is_loopback(f"http://{url}") else "https"
        return f"has no scheme; is it {guess}://{one_line(re.sub(r'.*@', '', url), 80)}?"
    if scheme.lower() not in ("http", "https"):
        return "has an unknown scheme; it begins with https://, or http:// on this machine"
    try:
        parts = urlsplit(url)
        port = parts.port
        httpx.URL(url)
        if ":" not in (parts.hostname or ""):
            (parts.hostname or "").encode("idna")
    except (ValueError, httpx.InvalidURL) as error:
        return f"is none: {one_line(error, 80)}" if "@" not in rest else "is none"
    return _wrong_parts(parts, port)


def _wrong_parts(parts: SplitResult, port: int | None) -> str:
    if not parts.hostname:
        return "names no host"
    if port == 0:
        return "names port 0; ports are 1 to 65535"
    if "@" in parts.netloc:
        return "has a user or password, which the API does not know; it wants a token"
    if parts.query or parts.fragment or parts.geturl().endswith(("?", "#")):
        return "has a query or fragment; leave it out"
    if route := _ROUTE.search(parts.path):
        return f"names a route; leave {route[0].rstrip('/')} out"
    if parts.scheme == "http" and parts.hostname.endswith(".amazonaws.com"):
        return "would show the token to the network; AWS speaks https:// alone"
    return ""


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked_token(text: str) -> str:
    """The token without the blanks around it. Raises SettingError, which does not show it."""
    token = text.strip()
    if not token:
        raise SettingError("the token is empty; it is an access token of the stack's user pool")
    if not _TOKEN.fullmatch(token):
        raise SettingError(
            "the token has blanks, line breaks or letters that no token has; is it an access "
            "token, whole and alone? (it is not shown)"
        )
    if len(token) > MAX_TOKEN_BYTES:
        raise SettingError(f"the token is longer than {MAX_TOKEN_BYTES} bytes; no access token is")
    return token


def why_refused(token: str, now_ms: float | None) -> str:
    """What a token says of itself that explains its refusal; `now_ms` is the server's clock."""
    claims = _claims(token)
    if claims is None:
        return "what was sent as the token is no JWT, as access tokens are"
    expires = claims.get("exp")
    now = datetime.now(UTC).timestamp() if now_ms is None else now_ms / 1000
    if isinstance(expires, int | float) and 0 <= expires <= now:
        return f"the token expired {_ago(now - expires)} ago; sign in again"
    if claims.get("token_use") == "id":
        return "this is an ID token; the API wants the access token"
    return "the token has not expired; is it of this stack's user pool?"


def _claims(token: str) -> dict[str, Any] | None:
    """What a JWT says; None of what is none. Nothing is verified."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _ago(seconds: float) -> str:
    for unit, many in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * many:
            return f"{seconds / many:,.0f} {unit}"
    return f"{seconds:.0f} s"
