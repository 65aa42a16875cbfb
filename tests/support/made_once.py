"""What the libraries make anew for every client, and the tests' process makes once: certificates
that nobody here shows, the models and classes of AWS's services, and the key of all user pools.
"""

import ssl
from functools import cache
from typing import Any

from botocore import session as sessions
from botocore.client import ClientCreator
from httpx._transports import default as transports
from joserfc.jwk import RSAKey


def begin() -> None:
    """From now on they are made once: to make them anew took a tenth of all tests' time."""
    transports.create_ssl_context = _ssl_context
    ClientCreator._create_client_class = _client_class
    sessions.create_loader = cache(sessions.create_loader)
    RSAKey.binding.import_private_key = _private_key


_make_ssl_context, _make_client_class = (
    transports.create_ssl_context,
    ClientCreator._create_client_class,
)
_make_private_key = RSAKey.binding.import_private_key
_usual_ssl_context = cache(_make_ssl_context)
_classes: dict[str, Any] = {}
_private_keys: dict[tuple[str, str], Any] = {}


def _ssl_context(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
    if verify is True and cert is None:
        return _usual_ssl_context()
    return _make_ssl_context(verify=verify, cert=cert, trust_env=trust_env)


def _client_class(self: Any, service_name: str, service_model: Any) -> Any:
    if service_name not in _classes:
        _classes[service_name] = _make_client_class(self, service_name, service_model)
    return _classes[service_name]


def _private_key(told: Any) -> Any:
    """moto has one for all pools, and looks for its prime factors each time."""
    identity = told["n"], told["d"]
    if identity not in _private_keys:
        _private_keys[identity] = _make_private_key(told)
    return _private_keys[identity]
