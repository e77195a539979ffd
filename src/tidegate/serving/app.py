"""The HTTP service of one package: raw texts in, labels and probabilities out.

It holds no model code (`package` does) and, so far, keeps no log of what it was asked.
"""

import socket
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidegate.errors import BusyError
from tidegate.package import Package

MAX_TEXTS = 1_024
"""Texts a request."""
MAX_CHARACTERS = 100_000
"""Characters a text."""
MAX_BYTES = 16_000_000
"""Bytes of a request's body."""

_Text = Annotated[str, Field(max_length=MAX_CHARACTERS)]


class Request(BaseModel):
    """Texts as they are, without any preparation: either `texts` or `text`."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [{"texts": ["I would watch it again", "Not worth the money"]}, {"text": "Fine"}]
        },
    )
    texts: Annotated[list[_Text], Field(min_length=1, max_length=MAX_TEXTS)] | None = None
    text: _Text | None = None

    @model_validator(mode="after")
    def one_of_the_two(self) -> "Request":
        """Refuses none and both."""
        if (self.texts is None) == (self.text is None):
            raise ValueError("give either `texts` (a list) or `text`")
        return self

    def asked(self) -> list[str]:
        """The texts, one or many."""
        return [self.text] if self.text is not None else self.texts or []


class Prediction(BaseModel):
    """What the model says of one text."""

    label: str
    """The most probable label."""
    probabilities: dict[str, float]
    """By label, in the order of the task's labels; they sum to 1."""


class Answer(BaseModel):
    """A prediction a text, in the order of the request, and who gave them."""

    task: str
    model: str
    """The digest of the package."""
    predictions: list[Prediction]


class Health(BaseModel):
    """Which package answers."""

    status: str
    task: str
    model: str
    """The digest of the package."""


def create_app(package: Package) -> FastAPI:
    """The application that answers with `package`; it may be shared by several applications."""
    app = FastAPI(
        title=f"tidegate: {package.task}",
        description=f"Classifies texts as one of: {', '.join(package.labels)}.",
        version=package.digest[:12],
    )
    app.add_middleware(LimitedBody, limit=MAX_BYTES)

    @app.exception_handler(RequestValidationError)
    async def refuse(_: object, error: RequestValidationError) -> JSONResponse:
        """Says what is wrong, and where, without giving the texts back."""
        problems = [{key: problem[key] for key in ("loc", "msg", "type")} for problem in error.errors()]
        return JSONResponse({"detail": problems}, status_code=422)

    @app.post("/predict", summary="Classify one text or several", responses={413: {"description": "Too large"}})
    def predict(request: Request) -> Answer:
        found = package.predict(request.asked())
        return Answer(task=package.task, model=package.digest, predictions=[_prediction(package, row) for row in found])

    @app.get("/healthz", summary="Whether the service answers, and with which model")
    def healthz() -> Health:
        return Health(status="ok", task=package.task, model=package.digest)

    return app


def _prediction(package: Package, probabilities: Any) -> Prediction:
    return Prediction(
        label=package.labels[int(probabilities.argmax())],
        probabilities=dict(zip(package.labels, probabilities.tolist(), strict=True)),
    )


class LimitedBody:
    """Answers 413 as soon as a body exceeds the limit, whether its length was announced or not."""

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self.app, self.limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what is small enough, the body read whole."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        chunks, size, more = list[Message](), 0, True
        while more and size <= self.limit:
            message = await receive()
            chunks.append(message)
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        if size > self.limit:
            await self._refuse(send)
            return

        async def replayed() -> Message:
            return chunks.pop(0) if chunks else await receive()

        await self.app(scope, replayed, send)

    async def _refuse(self, send: Send) -> None:
        body = f'{{"detail": "the body exceeds {self.limit:,} bytes"}}'.encode()
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class _AnnouncedServer(uvicorn.Server):
    """Says on standard output that it is ready, once it really answers."""

    def __init__(self, config: uvicorn.Config, announcement: str) -> None:
        super().__init__(config)
        self.announcement = announcement

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(self.announcement, flush=True)


def serve(folder: Path, *, host: str, port: int, expected_digest: str | None = None) -> None:
    """Serves a package until the process is told to end (SIGINT, SIGTERM); requests under way are answered first.

    Prints `serving DIGEST on http://HOST:PORT` when ready.

    Args:
        port: 0 takes a free one.

    Raises:
        PackageError: the package cannot be loaded or is another one than expected.
        BusyError: the port is taken, or the address is not this machine's.
    """
    package = Package.load(folder, expected_digest=expected_digest)
    with _listening(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        announcement = f"serving {package.digest} on http://{shown}:{listener.getsockname()[1]}"
        config = uvicorn.Config(create_app(package), log_level="warning", timeout_graceful_shutdown=10)
        try:
            _AnnouncedServer(config, announcement).run(sockets=[listener])
        except KeyboardInterrupt:  # the server ended in order and then passes the signal on
            print("stopped")


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        remedy = "Choose another one with --host and --port, or stop who holds it"
        raise BusyError(f"{host}:{port}", f"cannot be listened on ({error})", remedy) from None
