"""What can go wrong between a signalling client and its server. No message ever carries a credential."""

from __future__ import annotations


class SignallingError(Exception):
    """The signalling connection could not do what was asked."""


class SignallingConnectError(SignallingError):
    """Connecting failed. `code` is the close code, or the HTTP status when the upgrade was refused."""

    def __init__(self, code: int, reason: str, *, retry_after_ms: int | None = None) -> None:
        super().__init__(f"cannot connect to the signalling server: {reason or 'no reason given'} ({code})")
        self.code = code
        self.reason = reason
        #: How long the server asks to be left alone; None when it does not say.
        self.retry_after_ms = retry_after_ms


class TokenProviderError(SignallingError):
    """The token provider failed, took too long, or returned something that is not a token."""


class NotConnectedError(SignallingError):
    """There is no connection just now; nothing was sent."""


class DisconnectedError(SignallingError):
    """The connection was lost before the answer; the request may or may not have been carried out."""


class AckTimeoutError(SignallingError):
    """The server did not answer in time; the request may or may not have been carried out."""


class ServerRequestError(SignallingError):
    """The server refused a request. `code` is its word for why, e.g. ``channel_not_authorized``."""

    def __init__(self, code: str, message: str | None) -> None:
        super().__init__(f"the signalling server refused: {code}" + (f" ({message})" if message else ""))
        self.code = code


class FrameTooLargeError(SignallingError):
    """The whole frame is larger than the server takes; nothing was sent."""

    def __init__(self, size_bytes: int, max_bytes: int) -> None:
        super().__init__(f"the frame has {size_bytes} bytes; the server accepts at most {max_bytes}")
        self.size_bytes = size_bytes
        self.max_bytes = max_bytes


class ChannelError(Exception):
    """Something about a data channel; the base of what is raised there."""


class ChannelClosedError(ChannelError):
    """The channel is closed, or the peer has left."""


class ChannelFullError(ChannelError):
    """Too many messages wait to be sent."""


class ChannelOverflowError(ChannelError):
    """More arrived than was read, and the channel was closed so that no gap goes unnoticed."""
