"""What requests and answers look like: checked strictly on the way in, and described for OpenAPI."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tidegate.serving.settings import Settings

_DOCUMENT = 200
"""Characters of a document's name."""


class PredictRequest(BaseModel):
    """Texts as they are, without any preparation: either `texts` or `text`."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"texts": ["I would watch it again", "Not worth the money"]},
                {"text": "Fine", "document": "letter-17", "explain": True},
            ]
        },
    )
    texts: Annotated[list[str], Field(min_length=1)] | None = None
    text: str | None = None
    document: Annotated[str, Field(min_length=1, max_length=_DOCUMENT, pattern=r"^[^\x00-\x1f\x7f]+$")] | None = None
    """What the texts belong to (a letter, an author), so that they are drawn together and split together."""
    explain: bool = False
    """Whether to say which words each answer rests on."""

    @model_validator(mode="after")
    def one_of_the_two(self) -> "PredictRequest":
        """Refuses none and both, and null for what can be left out."""
        if (self.texts is None) == (self.text is None) or {"text", "texts"} <= self.model_fields_set:
            raise ValueError("give either `texts` (a list) or `text`")
        return self

    def asked(self) -> list[str]:
        """The texts, one or many."""
        return [self.text] if self.text is not None else self.texts or []


class Part(BaseModel):
    """A word, or a run of words, of the text as the model saw it."""

    words: str
    weight: float
    """Probability that the label loses without it; below 0 where it speaks against the label."""


class Prediction(BaseModel):
    """What the model says of one text."""

    id: str | None
    """Under which a true label can be given back; null where no log is kept."""
    label: str
    """The most probable label."""
    probabilities: dict[str, float]
    """By label, in the order of the task's labels; they sum to 1."""
    model: str
    """The digest of the package that gave it."""
    explanation: list[Part] | None = None
    """Where it was asked for: the text in its order."""


class PredictAnswer(BaseModel):
    """A prediction a text, in the order of the request, and who gave them."""

    task: str
    model: str
    """The digest of the package. Where it changed between two texts of a long request: the last one's."""
    version: int | None
    """Its number in the registry; null where it has none."""
    predictions: list[Prediction]


class FeedbackRequest(BaseModel):
    """A true label for a prediction."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"id": "0193f2c4a1b27d0e5c8f4a6b9d3e1f20", "label": "positive"}]},
    )
    id: Annotated[str, Field(min_length=1, max_length=32, pattern="^[0-9a-f]+$")]
    """As the prediction has it."""
    label: Annotated[str, Field(max_length=1_000)]
    by: Annotated[str, Field(min_length=1, max_length=_DOCUMENT, pattern=r"^[^\x00-\x1f\x7f]+$")] | None = None
    """Who says so; left out: the name of the key."""
    kind: Literal["audit", "volunteered"] = "volunteered"
    """`audit`: given because the prediction is in the audit sample, whatever the answer was."""


class FeedbackAnswer(BaseModel):
    """The label is kept."""

    id: str
    label: str


class Health(BaseModel):
    """Which package answers."""

    status: Literal["ok", "behind", "not ready"]
    """`behind`: the champion was refused, and an earlier one answers."""
    task: str
    model: str
    version: int | None
    why: str | None
    """Where the status is not `ok`."""


class Refusal(BaseModel):
    """What is wrong with a request, and where, without its content."""

    detail: str | list[dict[str, Any]]


def described(kind: type[BaseModel], how: Settings, labels: Sequence[str]) -> dict[str, Any]:
    """A request's JSON schema with the limits and the classes that are in force."""
    schema = kind.model_json_schema()
    properties: dict[str, Any] = schema["properties"]
    for name in ("text", "texts"):
        if name in properties:  # they may be left out, and are never null
            properties[name] = next(one for one in properties[name]["anyOf"] if one["type"] != "null")
    if kind is FeedbackRequest:
        properties["label"]["enum"] = list(labels)
        return schema
    properties["text"]["maxLength"] = how.max_characters
    properties["texts"] |= {"maxItems": how.max_texts, "items": dict(properties["text"])}
    schema["oneOf"] = [{"required": ["text"]}, {"required": ["texts"]}]
    schema["if"] = {"properties": {"explain": {"const": True}}, "required": ["explain"]}
    schema["then"] = {"properties": {"texts": {"maxItems": how.explain_texts}}}
    return schema


def problems(error: ValidationError) -> list[dict[str, Any]]:
    """What pydantic found, the first ten, without the values."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [
        {"loc": [str(part)[:50] for part in one["loc"]], "msg": one["msg"], "type": one["type"]} for one in found[:10]
    ]


def too_much(request: PredictRequest, how: Settings) -> list[dict[str, Any]]:
    """Which of the limits a request exceeds; empty where none."""
    texts = request.asked()
    most = how.explain_texts if request.explain else how.max_texts
    if len(texts) > most:
        words = f"has {len(texts):,} texts; at most {most:,} are {'explained' if request.explain else 'taken'}"
        return [_problem("explain" if request.explain else "texts", words, "too_long")]
    longest = max(range(len(texts)), key=lambda at: len(texts[at]))
    if (length := len(texts[longest])) > how.max_characters:
        words = f"text {longest} has {length:,} characters; at most {how.max_characters:,} are taken"
        return [_problem("text" if request.texts is None else "texts", words, "string_too_long")]
    return []


def _problem(where: str, words: str, kind: str) -> dict[str, Any]:
    return {"loc": [where], "msg": words, "type": kind}
