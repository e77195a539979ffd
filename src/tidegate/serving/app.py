"""The HTTP face of a service: paths, statuses and OpenAPI. It answers nothing by itself, `service` does.

Requests are checked by pydantic and answers written by orjson, without models in between: this is the hot path.
"""

from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from pydantic import ValidationError

from tidegate.errors import DataError
from tidegate.serving import schemas
from tidegate.serving.batching import ClosedError, OverloadedError
from tidegate.serving.guards import Guard, Keys
from tidegate.serving.prediction_log import Feedback
from tidegate.serving.service import Given, Service

_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"description": "No key, or an unknown one", "model": schemas.Refusal},
    408: {"description": "The body did not arrive in time", "model": schemas.Refusal},
    413: {"description": "The body is too large", "model": schemas.Refusal},
    422: {"description": "Not as described", "model": schemas.Refusal},
    503: {"description": "Being stopped, or the log cannot be written", "model": schemas.Refusal},
    504: {"description": "No answer in time", "model": schemas.Refusal},
}
_OVERLOADED: dict[int | str, dict[str, Any]] = {
    429: {
        "description": "Too many texts wait", "model": schemas.Refusal,
        "headers": {"Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer", "minimum": 1}}},
    }
}  # fmt: skip


def create_app(service: Service, keys: Keys) -> FastAPI:
    """The application of a service; who made the service closes it."""
    package = service.served.model.package
    app = FastAPI(
        title=f"tidegate: {package.task}",
        description=f"Classifies texts as one of: {', '.join(package.labels)}.",
        version="1",
        redoc_url=None,
    )
    app.add_middleware(
        Guard, keys=keys, metrics=service.metrics,
        max_bytes=service.how.max_bytes, read_timeout_s=service.how.read_timeout_s,
    )  # fmt: skip
    _add_asking(app, service)
    _add_looking(app, service)
    app.exception_handler(404)(lambda *_: _json({"detail": "no such path"}, 404))
    app.exception_handler(Exception)(lambda *_: _json({"detail": "a fault of the service; its log says more"}, 500))
    app.openapi = lambda: _described(app, service, keys)  # type: ignore[method-assign]
    return app


def _add_asking(app: FastAPI, service: Service) -> None:
    @app.post(
        "/predict", summary="Classify one text or several", response_model=schemas.PredictAnswer,
        responses=_REFUSALS | _OVERLOADED,
    )  # fmt: skip
    async def predict(request: Request) -> Response:
        service.batcher.begin()
        try:
            asked = schemas.PredictRequest.model_validate_json(await request.body())
            if problems := schemas.too_much(asked, service.how):
                return _json({"detail": problems}, 422)
            given = await service.predict(asked.asked(), document=asked.document, explained=asked.explain)
        except Exception as error:
            return _refused(error)
        finally:
            service.batcher.end()
        return _json(_answer(given))

    @app.post(
        "/feedback", summary="Give a true label back", response_model=schemas.FeedbackAnswer,
        responses={**_REFUSALS, 404: {"description": "No such prediction", "model": schemas.Refusal}},
    )  # fmt: skip
    async def feedback(request: Request) -> Response:
        try:
            asked = schemas.FeedbackRequest.model_validate_json(await request.body())
            labels = service.served.model.package.labels
            if asked.label not in labels:
                return _json({"detail": f"the label is none of: {', '.join(labels)}"}, 422)
            by = asked.by or request.state.client
            given = Feedback(prediction_id=asked.id, label=asked.label, by=by, kind=asked.kind)
            known = await service.feedback(given)
        except Exception as error:
            return _refused(error)
        if not known:
            return _json({"detail": "no prediction has this id: it was never given, or its time is over"}, 404)
        return _json({"id": asked.id, "label": asked.label})


def _add_looking(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", summary="Whether the process lives, and with which model", response_model=schemas.Health)
    async def healthz() -> Response:
        return _json(_health(service, "ok", None))

    @app.get(
        "/readyz", summary="Whether requests may come", response_model=schemas.Health,
        responses={503: {"description": "They may not", "model": schemas.Health}},
    )  # fmt: skip
    async def readyz() -> Response:
        if why := service.unready:
            return _json(_health(service, "not ready", why), 503)
        refused = service.served.refused
        return _json(_health(service, "behind" if refused else "ok", refused))

    @app.get(
        "/metrics", summary="For Prometheus", response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )  # fmt: skip
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _answer(given: Sequence[Given]) -> dict[str, Any]:
    model = given[-1].answer.model
    return {
        "task": model.package.task, "model": model.digest, "version": model.version,
        "predictions": [_prediction(one) for one in given],
    }  # fmt: skip


def _prediction(given: Given) -> dict[str, Any]:
    answer = given.answer
    found: dict[str, Any] = {
        "id": given.id, "label": answer.label, "model": answer.model.digest,
        "probabilities": dict(zip(answer.model.package.labels, answer.probabilities, strict=True)),
    }  # fmt: skip
    if given.explanation is not None:
        found["explanation"] = [{"words": words, "weight": weight} for words, weight in given.explanation]
    return found


def _refused(error: Exception) -> Response:
    match error:
        case ValidationError():
            return _json({"detail": schemas.problems(error)}, 422)
        case OverloadedError():
            return _json({"detail": str(error)}, 429, {"Retry-After": str(error.retry_after_s)})
        case ClosedError():
            return _json({"detail": "the service is being stopped"}, 503, {"Retry-After": "1"})
        case TimeoutError():
            return _json({"detail": "there was no answer in time; try fewer texts, or later"}, 504)
        case DataError():
            print(f"serve: {error}", flush=True)
            return _json({"detail": "the prediction log cannot be written, and nothing is answered without it"}, 503)
        case _:
            raise error


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, "application/json")


def _health(service: Service, status: str, why: str | None) -> dict[str, Any]:
    model = service.served.model
    return {
        "status": status, "task": model.package.task, "model": model.digest, "version": model.version, "why": why
    }  # fmt: skip


def _described(app: FastAPI, service: Service, keys: Keys) -> dict[str, Any]:
    """OpenAPI, with the limits and classes in force, and the keys where some are asked for."""
    made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    labels = service.served.model.package.labels
    for path, kind in (("/predict", schemas.PredictRequest), ("/feedback", schemas.FeedbackRequest)):
        schema = schemas.described(kind, service.how, labels)
        made["paths"][path]["post"]["requestBody"] = {
            "required": True, "content": {"application/json": {"schema": schema}}
        }  # fmt: skip
        if keys:
            made["paths"][path]["post"]["security"] = [{"key": []}]
    if keys:
        made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return made
