"""Messages about alarms, to wherever the addresses of an environment variable lead: webhooks, e-mail, chats.

apprise sends them (github.com/caronc/apprise names the addresses: json://, mailto://, slack://, and others). What is
said and noted of an alarm is for `watch` and `ledger`.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a message to one address."""

    to: str
    """The scheme of the address and its place among them; in some schemes all the rest is secret."""
    sent: bool
    why: str
    """What the sender said, where it failed."""


def addresses(variable: str) -> list[str]:
    """The addresses in an environment variable, divided by blanks; none where it is not set."""
    return os.environ.get(variable, "").split()


def send(to: Sequence[str], *, title: str, body: str) -> list[Sent]:
    """Sends a message to every address. A failure is an answer, no error: an alarm must not be lost to it."""
    return [
        Sent(f"{address.split(':')[0][:20]}://... ({place} of {len(to)})", *_sent(address, title, body))
        for place, address in enumerate(to, 1)
    ]


def _sent(address: str, title: str, body: str) -> tuple[bool, str]:
    import logging

    import apprise

    library: Any = apprise  # partly typed

    with library.LogCapture(level=logging.WARNING, fmt="%(message)s") as said:
        try:
            one = library.Apprise.instantiate(address, suppress_exceptions=True)
            if one is None:
                return False, "the address is not understood"
            done = bool(one.notify(title=title, body=body))
        except Exception as error:  # a plugin's errors have no common base
            return False, type(error).__name__
        words = "" if done else " ".join(said.getvalue().split()) or "it was not delivered"
    return done, _without(words, address)


def _without(words: str, address: str) -> str:
    """What a sender said, without the parts of the address, which may be secret."""
    from urllib.parse import urlsplit

    parts = urlsplit(address)
    for secret in sorted({address, parts.path.strip("/"), parts.username or "", parts.password or "", parts.query}):
        if len(secret) > 3:
            words = words.replace(secret, "...")
    return words


def about(entry: Mapping[str, Any], task: str) -> tuple[str, str]:
    """Title and body of the message about an entry of the ledger."""
    title = f"tidegate: alarm for {task}"
    decision = (
        "A retraining was asked for." if entry["decision"] == "retrain" else f"No retraining: {entry['because']}."
    )
    window = entry["window"]
    lines = [
        f"{entry['why'][:1].upper()}{entry['why'][1:]}.",
        f"Window: predictions {window['first']:,} to {window['last']:,} of model {entry['model'][:12]}.",
        *(_line(name, signal) for name, signal in entry["evidence"].items()),
        decision,
        f"Alarm {entry['id']}, {entry['at']}.",
    ]
    return title, "\n".join(lines)


def _line(name: str, signal: Mapping[str, Any]) -> str:
    if name == "accuracy":
        return (
            f"- accuracy: {signal['accuracy']:.3f} of {signal['rows']:,} audited rows, below {signal['bound']:.3f} "
            f"(evidence {signal['evidence']:.3g}, {signal['needed']:.0f} needed)"
        )
    return (
        f"- {name}: {signal['value']:.3f}, threshold {signal['threshold']:.3f}, effect {signal['effect']:.3f}, "
        f"n = {signal['rows']:,}; {signal['direction']}"
    )
