"""The settings of the rooms: whose they are, who signs for them, and which relays their callers use."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr, model_validator

from agent.realtime.ice_servers import MAX_SERVERS, is_turn_url, parse_ice_servers
from agent.realtime.ice_servers import IceServer as PlainServer
from agent.realtime.json_text import json_bytes
from agent.realtime.rest.turn_rest import is_app_name, is_region
from pipelines.options import Section

METERED_URL = "wss://rms.metered.ca"
#: A relay's credential outlives the token it travels in by this much: a connection begun at the last moment
#: has to come up.
TURN_MARGIN_S = 60
#: A token is part of an address, and servers take no line over 8 KB.
MAX_TOKEN_SERVERS_BYTES = 2560
#: Of the 16 entries that clients accept, what is left when the relays have theirs.
MAX_BESIDES_TURN = MAX_SERVERS - 4


def _is_given(secret: SecretStr | None) -> bool:
    if secret is not None and not secret.get_secret_value():
        raise ValueError("a secret must not be empty")
    return secret is not None


class IceServer(Section):
    urls: tuple[str, ...]
    username: str | None = None
    credential: SecretStr | None = None

    def plain(self) -> PlainServer:
        credential = self.credential.get_secret_value() if self.credential else None
        return PlainServer(self.urls, self.username, credential)


class TurnServers(Section):
    """Relays for which every token gets a short-lived credential of its own."""

    #: A coturn's addresses, and the ``static-auth-secret`` that it has with ``use-auth-secret``.
    urls: tuple[str, ...] = ()
    secret: SecretStr | None = None
    #: Or Metered's relays: the app (``my-app`` of ``my-app.metered.live``) and its TURN secret key.
    app_name: str | None = None
    secret_key: SecretStr | None = None
    #: One of Metered's regions; None leaves it to the service.
    region: str | None = None
    #: How long a credential lasts; None: as long as the token and a minute.
    ttl_s: Annotated[int, Field(ge=60)] | None = None

    @property
    def is_coturn(self) -> bool:
        return self.secret is not None

    @property
    def is_metered(self) -> bool:
        return self.secret_key is not None

    @property
    def is_set(self) -> bool:
        return self.is_coturn or self.is_metered

    @model_validator(mode="after")
    def _one_service(self) -> TurnServers:
        has_secret, has_key = _is_given(self.secret), _is_given(self.secret_key)
        if bool(self.urls) != has_secret:
            raise ValueError("urls and secret go together: a coturn's addresses and its static-auth-secret")
        if bool(self.app_name) != has_key:
            raise ValueError(
                "app_name and secret_key go together: an app of Metered's and its TURN secret key"
            )
        if has_secret and has_key:
            raise ValueError("give urls and secret, or app_name and secret_key, not both")
        if not all(map(is_turn_url, self.urls)):
            raise ValueError("urls are like turn:turn.example.com:3478?transport=udp or turns:host:5349")
        if self.app_name and not is_app_name(self.app_name):
            raise ValueError("app_name is the name alone: my-app for my-app.metered.live")
        if self.region and not (has_key and is_region(self.region)):
            raise ValueError("region is a word like global, europe or us_east, and for app_name only")
        return self


class RoomsOptions(Section):
    #: None: the embedded hub, or Metered's service when one of its keys is set.
    url: str | None = None
    #: A publishable key (``pk_live_…``).
    api_key: SecretStr | None = None
    #: A secret pair (``sk_id_…`` and ``sk_secret_…``): tokens are minted here, one room each.
    secret_key_id: str | None = None
    secret_key: SecretStr | None = None
    #: What the embedded hub tells its clients; elsewhere, in place of what the server there sends.
    ice_servers: tuple[IceServer, ...] = ()
    turn: TurnServers = TurnServers()
    #: How long a caller's token for the page lasts.
    token_ttl_s: Annotated[int, Field(ge=60, le=86_400)] = 3600

    @property
    def embedded(self) -> bool:
        return self.url is None and self.api_key is None and self.secret_key is None

    @property
    def origin(self) -> str:
        """The signalling server when it is not the embedded one."""
        return self.url or METERED_URL

    @property
    def turn_ttl_s(self) -> int:
        return self.turn.ttl_s or self.token_ttl_s + TURN_MARGIN_S

    @model_validator(mode="after")
    def _one_credential(self) -> RoomsOptions:
        if (self.secret_key is None) != (self.secret_key_id is None):
            raise ValueError("secret_key_id and secret_key go together")
        if self.url and self.api_key is None and self.secret_key is None:
            raise ValueError("url needs api_key, or secret_key_id and secret_key")
        return self

    @model_validator(mode="after")
    def _relays_fit_into_tokens(self) -> RoomsOptions:
        if not self.turn.is_set:
            return self
        if not self.embedded and self.secret_key is None:
            raise ValueError("turn needs tokens to put credentials into: set secret_key_id and secret_key")
        if self.turn_ttl_s > self.token_ttl_s + TURN_MARGIN_S:
            raise ValueError(
                f"turn.ttl_s must be at most token_ttl_s and {TURN_MARGIN_S}: "
                f"{self.token_ttl_s + TURN_MARGIN_S}"
            )
        servers = [server.plain().to_json() for server in self.ice_servers]
        if parse_ice_servers(servers) is None or len(servers) > MAX_BESIDES_TURN:
            raise ValueError(
                f"besides turn, ice_servers are at most {MAX_BESIDES_TURN}, "
                "with addresses that begin with stun:, stuns:, turn: or turns:"
            )
        if json_bytes([servers, self.turn.urls]) > MAX_TOKEN_SERVERS_BYTES:
            raise ValueError(
                f"ice_servers and turn.urls together have more than {MAX_TOKEN_SERVERS_BYTES} bytes, "
                "too many for a token"
            )
        return self
