"""The vendor's TURN service, imitated endpoint by endpoint with its odd refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from rest_server import Asked
from starlette.responses import JSONResponse

SECRET_KEY = "account+secret/key"
PAGE = 2


class TurnService:
    """`answer` is for a `RestServer`. `servers` is what relays it hands out."""

    def __init__(self, urls: list[str] | None = None) -> None:
        self.urls = urls or ["turn:relay.test:80", "turns:relay.test:443?transport=tcp"]
        self.users: list[dict[str, Any]] = []
        self.projects: list[dict[str, Any]] = []
        #: What makes the password of a new user, for relays that compute it.
        self.credential: Callable[[str], tuple[str, str]] = lambda name: (name, f"password-of-{name}")

    def answer(self, asked: Asked) -> JSONResponse:
        if (asked.method, asked.path) == ("GET", "/api/v1/turn/credentials"):
            return self._ice_servers(asked.query)
        if asked.query.get("secretKey") != SECRET_KEY:
            if asked.path.startswith("/api/v2/") or asked.path.endswith("disable"):
                return JSONResponse({"message": "Invalid secretKey"}, 400)
            return JSONResponse({"error": "Invalid secretKey"}, 401)
        handler = self._handlers().get((asked.method, asked.path))
        if handler is None:
            return JSONResponse({"message": "no such endpoint"}, 404)
        return handler({**asked.query, **(asked.body or {})})

    def _handlers(self) -> dict[tuple[str, str], Callable[[dict[str, Any]], JSONResponse]]:
        v1, v2 = "/api/v1/turn", "/api/v2/turn"
        usage = {"quotaInGB": 0.5, "usageInGB": 0, "overageInGB": 0}
        project = {"quotaInBytes": 1_048_576, "usageInBytes": 7, "overageInBytes": 0}
        by_user = {"data": [{"label": None, "username": "u", "usageInGB": 1}], "has_more": False}
        return {
            ("POST", f"{v1}/credential"): self._create,
            ("POST", f"{v1}/credential/enable"): lambda given: self._switch(given, True),
            ("POST", f"{v1}/credential/disable"): lambda given: self._switch(given, False),
            ("DELETE", f"{v1}/credential"): self._delete,
            ("POST", f"{v2}/credential/update_label"): self._relabel,
            ("GET", f"{v2}/credentials"): self._list,
            ("DELETE", f"{v2}/credential/by_label"): self._delete_by_label,
            ("GET", f"{v1}/current_usage"): lambda _: JSONResponse(usage),
            ("GET", f"{v1}/current_usage_by_date"): lambda _: JSONResponse(
                [{"date": "2026-01-02", "usageInGB": 0.25}]
            ),
            ("GET", f"{v1}/current_usage_for_user"): lambda _: JSONResponse({"usageInGB": 0.125}),
            ("GET", f"{v2}/current_usage_by_user"): lambda _: JSONResponse(by_user),
            ("POST", f"{v2}/project"): self._add_project,
            ("GET", f"{v2}/projects"): lambda _: JSONResponse(self.projects),
            ("PUT", f"{v2}/project/p1"): lambda given: JSONResponse(self.projects[0] | given),
            ("GET", f"{v2}/project/p1/current_usage"): lambda _: JSONResponse(project),
            ("POST", f"{v2}/project/p1/credential"): self._create,
            ("DELETE", f"{v2}/project/p1/credential/by_label"): self._delete_by_label,
        }

    def _ice_servers(self, query: dict[str, str]) -> JSONResponse:
        if not query.get("apiKey"):
            return JSONResponse({"error": "Please specify API Key"}, 400)
        user = next((user for user in self.users if user["apiKey"] == query["apiKey"]), None)
        if user is None:
            return JSONResponse({"error": "Invalid API Key"}, 401)
        secret = {"username": user["username"], "credential": user["password"]}
        region = query.get("region", "global")
        relays = [{"urls": url.replace("relay", region, 1), **secret} for url in self.urls]
        return JSONResponse([{"urls": f"stun:stun.{region}.test:80"}, *relays])

    def _create(self, given: dict[str, Any]) -> JSONResponse:
        expiry = given.get("expiryInSeconds")
        if expiry is not None and (not isinstance(expiry, int) or expiry < 1):
            return JSONResponse({"message": "expiryInSeconds should be a positive number"}, 400)
        username, password = self.credential(f"user{len(self.users)}")
        user = {"username": username, "password": password, "apiKey": f"key{len(self.users)}"}
        user |= {name: given[name] for name in ("expiryInSeconds", "label") if name in given}
        self.users.append(user)
        return JSONResponse(user)

    def _find(self, given: dict[str, Any]) -> dict[str, Any] | None:
        return next((user for user in self.users if user["username"] == given.get("username")), None)

    def _switch(self, given: dict[str, Any], on: bool) -> JSONResponse:
        user, word = self._find(given), "enabled" if on else "disabled"
        if user is None:
            return JSONResponse({"message": "Credential not found"}, 401)
        if user.get("on", True) is on:
            return JSONResponse({"message": f"Credential already {word}"}, 400)
        user["on"] = on
        return JSONResponse({"message": f"Credential {word}"})

    def _delete(self, given: dict[str, Any]) -> JSONResponse:
        user = self._find(given)
        if user is None:
            return JSONResponse({"message": "Credential not found"}, 400)
        self.users.remove(user)
        return JSONResponse({"success": True, "message": "deleted"})

    def _relabel(self, given: dict[str, Any]) -> JSONResponse:
        user = self._find(given)
        if user is None:
            return JSONResponse({"message": "Credential not found"}, 400)
        user["label"] = given["label"]
        return JSONResponse(user)

    def _list(self, given: dict[str, Any]) -> JSONResponse:
        users = [user for user in self.users if given.get("label") in (None, user.get("label"))]
        page, pages = int(given.get("page", 1)), math.ceil(len(users) / PAGE)
        shown = [{**user, "expired": False} for user in users[(page - 1) * PAGE : page * PAGE]]
        next_page = page + 1 if page < pages else None
        prev_page = page - 1 if page > 1 else None
        place = {"current_page": page, "next_page": next_page, "prev_page": prev_page}
        total = {"total_records": len(users), "total_pages": pages}
        return JSONResponse({"data": shown, "pagination": total | place})

    def _delete_by_label(self, given: dict[str, Any]) -> JSONResponse:
        kept = [user for user in self.users if user.get("label") != given["label"]]
        deleted = len(self.users) - len(kept)
        self.users = kept
        return JSONResponse({"deleted": deleted})

    def _add_project(self, given: dict[str, Any]) -> JSONResponse:
        name = {key: value for key, value in given.items() if key != "secretKey"}
        self.projects.append({"_id": "p1", "apiKey": "project-key", **name})
        return JSONResponse(self.projects[-1])
