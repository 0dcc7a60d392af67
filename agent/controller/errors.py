"""One shape for everything that is refused, and one readable sentence for each thing that is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from rapidfuzz import fuzz, process, utils

MAX_REPORTED = 10
_JSON_NAMES: Sequence[tuple[type, str]] = (
    (bool, "a boolean"),
    (int, "a number"),
    (float, "a number"),
    (str, "text"),
    (list, "a list"),
    (dict, "an object"),
    (type(None), "null"),
)


class FieldError(BaseModel):
    field: str = Field(examples=["instruction"])
    message: str = Field(
        examples=['"instruction" is not known here, did you mean "instructions"? Accepted: room, persona.']
    )


class ErrorBody(BaseModel):
    code: str = Field(description="For programs; does not change.", examples=["not_found"])
    message: str = Field(description="For people.", examples=['There is no agent "a1b2c3".'])
    fields: list[FieldError] | None = Field(None, description="What was wrong with which field.")


class ErrorOut(BaseModel):
    """The answer to everything that is refused or fails."""

    error: ErrorBody


class ApiError(Exception):
    """A refusal: the status and the body it becomes."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        fields: Sequence[FieldError] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.body = ErrorBody(code=code, message=message, fields=list(fields) if fields else None)
        self.headers = headers

    def response(self) -> JSONResponse:
        content = ErrorOut(error=self.body).model_dump(exclude_none=True)
        return JSONResponse(content, status_code=self.status, headers=dict(self.headers or {}))


def nearest(name: str, known: Sequence[str]) -> str | None:
    """The known name a person most likely meant, or None when nothing is near."""
    found = process.extractOne(
        name, known, scorer=fuzz.ratio, processor=utils.default_process, score_cutoff=60
    )
    return None if found is None else found[0]


def invalid(errors: Sequence[Any], accepted: Mapping[str, str]) -> ApiError:
    """The 422 for what pydantic found; `accepted` says, per field, what it takes."""
    fields = [_sentence(error, accepted) for error in errors[:MAX_REPORTED]]
    if len(errors) > MAX_REPORTED:
        fields.append(FieldError(field="body", message=f"{len(errors) - MAX_REPORTED} more like these."))
    return ApiError(422, "invalid_request", " ".join(field.message for field in fields), fields=fields)


def _sentence(error: Any, accepted: Mapping[str, str]) -> FieldError:
    kind, where, context = error["type"], error["loc"], error.get("ctx", {})
    if kind == "json_invalid":
        return FieldError(field="body", message=f"The body is not valid JSON: {context.get('error', '')}.")
    if len(where) < 2:
        return FieldError(field="body", message="The body must be a JSON object.")
    # A key of the client's own making is quoted, so it is cut: the answer must not grow with the mistake.
    name = str(where[1])[:40]
    if kind == "extra_forbidden":
        near = nearest(name, list(accepted))
        hint = f', did you mean "{near}"?' if near else "."
        message = f'"{name}" is not known here{hint} Accepted: {", ".join(accepted)}.'
        return FieldError(field=name, message=message)
    return FieldError(
        field=name, message=f'"{name}" {_problem(error)}: give {accepted.get(name, "another value")}.'
    )


def _problem(error: Any) -> str:
    kind, given = error["type"], error.get("input")
    if kind == "missing":
        return "is missing"
    if kind == "string_too_long":
        return f"has {len(given)} characters"
    if kind == "does_not_fit":
        return str(error["msg"])
    if kind.endswith("_type"):
        return f"must not be {next((name for of, name in _JSON_NAMES if isinstance(given, of)), 'that')}"
    return "does not fit"
