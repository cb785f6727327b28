"""Who may connect, and how often they may speak.

A page that another site opens in the same browser must not reach this server: its Host header is
checked (DNS rebinding), and so is the Origin of every websocket. Off the loopback a token is asked
for too.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

LOOPBACK_NAMES = ("localhost", "localhost.localdomain")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class Limits:
    """What one server grants.

    Args:
        sessions: at the same time; further ones are told that the server is full.
        messages_per_second, burst: of one session; it is read more slowly beyond that.
        idle_seconds: after which a silent session is freed.
        send_seconds: after which a client that takes nothing in is dropped.
    """

    sessions: int = 20
    messages_per_second: float = 200.0
    burst: int = 400
    idle_seconds: float = 1800.0
    send_seconds: float = 20.0


@dataclass(frozen=True)
class Door:
    """Checks a request's headers and token.

    Args:
        host: the address the server is bound to.
        names: further names that it is reached by.
        token: asked for where it is not empty.
    """

    host: str
    names: tuple[str, ...] = ()
    token: str = ""

    def host_is_ours(self, header: str | None) -> bool:
        """Whether a Host header names this server: another name points here by a trick."""
        name = _host_name(header)
        if name is None:
            return False
        if name in LOOPBACK_NAMES or _is_loopback(name):
            return True
        if is_loopback(self.host):
            return name in self.names
        return _is_address(name) or name in (*self.names, self.host.lower(), *_own_names())

    def origin_is_ours(self, origin: str | None, host: str | None) -> bool:
        """Whether a websocket was opened by our own page: Origin and Host name the same place."""
        if origin is None or host is None:
            return False
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()

    def token_is_right(self, given: str | None) -> bool:
        return not self.token or hmac.compare_digest((given or "").encode(), self.token.encode())


@dataclass
class Allowance:
    """How many messages may come now (a token bucket)."""

    limits: Limits
    left: float = field(init=False)
    at: float = field(init=False)

    def __post_init__(self) -> None:
        self.left, self.at = float(self.limits.burst), time.monotonic()

    def take(self) -> float:
        """Count one message; the seconds to wait until it was allowed."""
        now = time.monotonic()
        rate = self.limits.messages_per_second
        self.left = min(self.limits.burst, self.left + (now - self.at) * rate) - 1
        self.at = now
        return max(0.0, -self.left / rate)


def is_loopback(host: str) -> bool:
    """Whether an address to bind to is reached from this machine only."""
    return host.lower() in LOOPBACK_NAMES or _is_loopback(host)


def _host_name(header: str | None) -> str | None:
    try:
        return urlsplit(f"//{header}").hostname if header else None
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(name: str) -> bool:
    return _is_address(name) and ipaddress.ip_address(name).is_loopback


def _own_names() -> tuple[str, ...]:
    name = socket.gethostname().lower()
    return name, f"{name}.local", f"{name}.lan"
