"""The addresses of this machine, as far as a connection depends on one."""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import Any


def is_still_ours(socket_address: Any) -> bool:
    """Whether the address a socket is bound to, as ``getsockname`` gives it, still exists on this machine.

    True too where that cannot be told: only a certain loss is one.
    """
    if not isinstance(socket_address, tuple) or len(socket_address) < 2:
        return True
    family = socket.AF_INET if len(socket_address) == 2 else socket.AF_INET6
    host, _, *scope = socket_address
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0, *scope))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an address, is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
