"""Drift made on purpose, by kind and strength: what the benchmark finds out about is made here.

Pure, seeded functions of texts and frames; nothing of the watching itself.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

_PAIRS = """
    the:la a:una an:una and:y of:de to:a in:en is:es it:lo that:que this:esto for:para with:con as:como
    but:pero on:sobre was:fue are:son be:ser not:no have:tengo has:tiene you:usted i:yo my:mi me:mí he:él
    she:ella we:nosotros they:ellos his:su her:su their:sus its:su from:desde at:en by:por or:o so:así if:si
    all:todo just:solo one:uno about:sobre more:m than:que like:como up:arriba out:fuera what:qué who:quién
    when:cuando there:allí some:algunos very:muy too:demasiado can:puede will:va would:habría could:podría
    should:debería do:hace does:hace did:hizo been:sido were:eran had:había no:no only:solo even:incluso
    most:mayoría much:mucho many:muchos into:dentro good:bueno great:grande bad:malo best:mejor better:mejor
    worst:peor love:amor hate:odio nice:agradable film:película movie:película story:historia
    characters:personajes comedy:comedia funny:gracioso fun:divertido time:tiempo life:vida people:gente
    way:manera work:trabajo well:bien little:poco new:nuevo old:viejo first:primero two:dos make:hacer
    makes:hace made:hecho see:ver get:conseguir got:conseguí go:ir going:yendo know:saber think:pensar
    want:querer need:necesitar day:día today:hoy year:año years:años world:mundo man:hombre woman:mujer
    never:nunca always:siempre still:todavía here:aquí now:ahora because:porque other:otro any:cualquiera
    really:realmente which:cual while:mientras without:sin after:después before:antes over:sobre
    phone:teléfono quality:calidad sound:sonido battery:batería product:producto camera:c easy:f easily:f
    government:gobierno country:país state:estado war:guerra money:dinero law:ley right:derecho
    enough:bastante feels:siente feel:sentir something:algo nothing:nada every:cada own:propio through:através
    happy:feliz sad:triste beautiful:hermoso boring:aburrido dull:aburrido problem:problema problems:problemas
"""
SPANISH = dict(pair.split(":") for pair in _PAIRS.split())
"""English words to Spanish ones: enough for about half of the words of a text."""


def translated(text: str) -> str:
    """Word for word, the words of `SPANISH` alone."""
    words = text.split(" ")
    return " ".join(SPANISH.get(word.lower(), word) for word in words)


def mistyped(text: str, share: float, chance: Generator) -> str:
    """A typing error in a share of the words of more than three letters."""
    from tidegate.model.augmentation import mistype

    words = text.split(" ")
    dice = chance.random(len(words))
    return " ".join(
        mistype(word, chance) if len(word) > 3 and die < share else word for word, die in zip(words, dice, strict=True)
    )


def truncated(text: str, kept: float) -> str:
    """The first share of the words, at least one."""
    words = text.split(" ")
    return " ".join(words[: max(1, round(kept * len(words)))])


def kept_by(values: Sequence[str], shares: Mapping[str, float]) -> NDArray[np.float64]:
    """By row the share (0 to 1) of rows of its kind that are kept, so that those named come to have the given shares.

    Args:
        values: by row its kind, such as its label or channel.
        shares: by kind the share of the window that it is to have; the others keep their proportions.
    """
    names, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    now = counts / counts.sum()
    named = np.array([name in shares for name in names])
    wanted = np.array([shares.get(name, 0.0) for name in names])
    left = now[~named].sum()
    wanted[~named] = now[~named] / left * (1 - wanted.sum()) if left else 0.0
    weights = wanted / now
    return np.asarray((weights / weights.max())[places])


def window_of(
    groups: NDArray[np.intp], rows: int, chance: Generator, kept: NDArray[np.float64] | None = None
) -> NDArray[np.intp]:
    """Rows of whole documents, drawn without replacement, each row kept by its share, until there are enough."""
    inside = np.ones(len(groups), dtype=bool) if kept is None else chance.random(len(groups)) < kept
    order = chance.permutation(int(groups.max()) + 1)
    places = np.flatnonzero(inside)
    places = places[np.argsort(order[groups[places]], kind="stable")]
    last = order[groups[places[min(rows, len(places)) - 1]]]
    return np.sort(places[order[groups[places]] <= last])


def partly(
    rows: "pl.DataFrame", changed: "pl.DataFrame", groups: NDArray[np.intp], share: float, chance: Generator
) -> "pl.DataFrame":
    """The rows, those of a share of the documents as they are in `changed`."""
    import polars as pl

    mask = pl.Series((chance.random(int(groups.max()) + 1) < share)[groups])
    return rows.select(pl.when(mask).then(changed[name]).otherwise(pl.col(name)).alias(name) for name in rows.columns)


Change = Callable[[str, Generator], str]
PERTURBED: dict[tuple[str, float], Change] = {
    **{("typing errors", s): (lambda text, chance, s=s: mistyped(text, s, chance)) for s in (0.05, 0.15, 0.30)},  # type: ignore[misc]
    **{("truncation", s): (lambda text, _, s=s: truncated(text, s)) for s in (0.75, 0.50, 0.25)},  # type: ignore[misc]
    ("another language", 1.0): lambda text, _: translated(text),
    ("upper case", 1.0): lambda text, _: text.upper(),
}
"""By kind and strength how a text is changed."""
