"""The tables of the prediction log. Only rows are added to them, and old ones pruned; what they mean stands here."""

import sqlalchemy as sa

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite counts up in columns of this type alone
metadata = sa.MetaData()
predictions = sa.Table(
    "predictions", metadata,
    sa.Column("seq", _NUMBER, primary_key=True),
    sa.Column("id", sa.String(32), nullable=False, unique=True),
    sa.Column("at", sa.Float, nullable=False, index=True),
    sa.Column("model", sa.String(64), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("probabilities", sa.Text, nullable=False),
    sa.Column("tokens", sa.Integer, nullable=False),
    sa.Column("unknown", sa.Integer, nullable=False),
    sa.Column("audit", sa.Integer, nullable=False),
    sa.Column("document", sa.Text, nullable=True),
    sqlite_autoincrement=True,  # a number is never given again, though its row was pruned
)  # fmt: skip
"""`at`: seconds since the epoch, UTC. `text`: as the model saw it, masked. `probabilities`: a JSON list in the order of
the labels. `audit`: 1 for the random audit sample. `document`: what the client says the text belongs to."""
feedback = sa.Table(
    "feedback", metadata,
    sa.Column("seq", _NUMBER, primary_key=True),
    sa.Column("prediction_id", sa.String(32), nullable=False, index=True),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)  # fmt: skip
shadow = sa.Table(
    "shadow", metadata,
    sa.Column("seq", _NUMBER, primary_key=True),
    sa.Column("prediction_id", sa.String(32), nullable=False, index=True),
    sa.Column("at", sa.Float, nullable=False, index=True),
    sa.Column("model", sa.String(64), nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("probabilities", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)  # fmt: skip
"""What the challenger would have answered."""
