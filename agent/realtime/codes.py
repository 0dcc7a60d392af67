"""The numbers and words both ends of the room protocol agree on."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class CloseCode(IntEnum):
    """Why a WebSocket was closed."""

    NORMAL = 1000
    GOING_AWAY = 1001
    #: Never on the wire: the connection was lost without a closing handshake.
    ABNORMAL = 1006
    POLICY_VIOLATION = 1008
    TOO_BIG = 1009
    #: Sent by clients only: nothing was heard for too long, or the welcome did not come.
    CLIENT_INACTIVITY = 4000
    INVALID_TOKEN = 4001
    TOKEN_EXPIRED = 4002
    CHANNEL_NOT_AUTHORIZED = 4003
    OVER_CONNECTION_LIMIT = 4010
    OVER_MESSAGE_RATE = 4011
    ACCOUNT_SUSPENDED = 4012
    ADMIN_DISCONNECT = 4020


#: After these, trying again with the same credential cannot succeed or is not wanted.
TERMINAL_CLOSE_CODES = frozenset(
    {
        CloseCode.INVALID_TOKEN,
        CloseCode.CHANNEL_NOT_AUTHORIZED,
        CloseCode.ACCOUNT_SUSPENDED,
        CloseCode.ADMIN_DISCONNECT,
    }
)


#: Too many attempts to connect from one address.
HTTP_TOO_MANY_REQUESTS = 429


class ErrorCode(StrEnum):
    """Codes of error frames. A client must accept any other string as well."""

    MALFORMED_MESSAGE = "malformed_message"
    UNKNOWN_TYPE = "unknown_type"
    INVALID_CHANNEL = "invalid_channel"
    INVALID_PEER_ID = "invalid_peer_id"
    CHANNEL_NOT_AUTHORIZED = "channel_not_authorized"
    CHANNEL_RESERVED = "channel_reserved"
    CHANNEL_LIMIT_EXCEEDED = "channel_limit_exceeded"
    PEER_NOT_FOUND = "peer_not_found"
    MISSING_DATA = "missing_data"
    ACTION_NOT_PERMITTED = "action_not_permitted"
    OVER_MESSAGE_QUOTA = "over_message_quota"
    BACKEND_ERROR = "backend_error"
    INTERNAL_ERROR = "internal_error"


class Action(StrEnum):
    """What a key or token allows its holder to do."""

    SUBSCRIBE = "subscribe"
    PUBLISH = "publish"
    PRESENCE = "presence"
    SEND = "send"


#: Largest client→server frame, in bytes of UTF-8; also announced in the welcome.
MAX_CLIENT_FRAME_BYTES = 65_536
#: Largest server→client frame a client has to take; beyond, it closes with 1009.
MAX_SERVER_FRAME_BYTES = 1_048_576

#: Error codes which, not answering any request, mean that the room is lost.
FATAL_CODES = frozenset(
    {
        "account_suspended",
        "channel_not_authorized",
        "action_not_permitted",
        "invalid_token",
        "token_expired",
    }
)
