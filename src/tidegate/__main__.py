"""`python -m tidegate STAGE` and the user's commands: maps arguments to calls, prints errors, nothing else.

Each command's module is imported inside its function, so that `--help` and a no-op stay light.
"""

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from tidegate.errors import DataError, PipelineError, TidegateError
from tidegate.files import disk_is_full
from tidegate.process import die_with_starter
from tidegate.quiet import quiet

USER_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0, or 2 for an error that the user can mend."""
    options = _parser().parse_args(arguments)
    quiet()
    if log := os.environ.pop("TIDEGATE_LOG", None):
        _write_output_to(Path(log))
    die_with_starter()
    signal.signal(signal.SIGTERM, _stop)
    try:
        options.call(options)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except Exception as error:
        if (mendable := _mendable(error)) is None:
            raise
        if options.debug:
            traceback.print_exc()
        print(f"tidegate {options.command}: {mendable}", file=sys.stderr)
        return USER_ERROR
    return 0


def _stop(*_: object) -> None:
    """A polite kill unwinds, so that drafts are removed and what was started is stopped."""
    sys.exit(143)


def _mendable(error: Exception) -> TidegateError | None:
    """The error as the user can mend it: ours, a full disk, or what the system refused; None for a bug."""
    if isinstance(error, TidegateError):
        return error
    if disk_is_full(error, Path.cwd() / "data"):
        return DataError(str(Path.cwd()), "no space is left on the disk", "Free some and run again")
    if isinstance(error, OSError):
        cause = error.strerror or " ".join(str(error).split())
        return DataError(str(error.filename or "the system"), cause, "Mend that and run again: nothing is half-written")
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tidegate",
        description="Takes a transformer text classifier from the lab to the market and keeps it fit there.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, call: Callable[[argparse.Namespace], None], words: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=words, description=words)
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        command.set_defaults(call=call)
        return command

    add("repro", _repro, "sync, reproduce the pipeline, promote, and print the result")
    add("flow", _flow, "the same through Prefect, independent stages at once")
    add("sync", _sync, "pin the champion, the best ever and the feedback in inputs.yaml")
    add("promote", _promote, "reconcile the registry with the decision")
    add("status", _status, "what is in service, what was decided, what is stale")
    for name, words in (("approve", "let a candidate that passed become champion"), ("reject", "deny a candidate")):
        command = add(name, _say, f"{words}, and its recipe with it" if name == "reject" else words)
        command.add_argument("digest", help="of the candidate, or its beginning")
        _ask_who(command)
    rollback = add("rollback", _rollback, "put an earlier champion back, and deny the present one and its recipe")
    rollback.add_argument("--to", type=int, metavar="VERSION", help="the champion before this one where left out")
    _ask_who(rollback)
    verify = add("verify", _verify, "compute digest and figures of a version anew")
    verify.add_argument("version", type=int)
    add("monitor", _monitor, "look at what is new in the prediction log, and act on alarms")
    retrain = add("retrain", _retrain, "train as the champion was trained, in a worktree, through the gate")
    retrain.add_argument("--reason", default="by hand", help="shown with the run")
    lineage = add("lineage", _lineage, "what a version came from, or which versions came from something")
    lineage.add_argument("what", help="version, alias, path, source, or the beginning of a digest or revision")
    add("result", _result, "the result table of the last evaluation")
    use = add("use", _use, "merge a scenario into params.yaml and show the difference")
    use.add_argument("scenario", help="a name in scenarios/")
    serve = add("serve", _serve, "serve a package over HTTP")
    serve.add_argument("folder", nargs="?", type=Path, help="a package; the champion where none is named")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    sample = add("sample", _sample, "write answers of the service that want a true label to a CSV")
    sample.add_argument("file", type=Path)
    sample.add_argument("--rows", type=int, default=200, help="of the audit sample, and of uncertain ones")
    feedback = add("feedback", _feedback, "take in true labels from a CSV: id,label[,by]")
    feedback.add_argument("file", type=Path)
    feedback.add_argument("--by", default=os.environ.get("USER") or "unknown", metavar="NAME", help="who labelled")
    for name in _stage_names():
        add(name, _stage, f"run the stage {name!r} as dvc.yaml describes it")
    return parser


def _ask_who(command: argparse.ArgumentParser) -> None:
    command.add_argument("--by", required=True, metavar="NAME", help="who says so; goes into the log")
    command.add_argument("--why", default="no reason given", metavar="TEXT", help="goes into the log")


def _stage_names() -> list[str]:
    folder = Path(__file__).parent / "stages"
    return sorted(file.stem for file in folder.glob("*.py") if file.stem != "__init__")


def _write_output_to(log: Path) -> None:
    """Sends this process's output, that of its libraries and children too, to a file."""
    with log.open("ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    for stream_ in (sys.stdout, sys.stderr):
        stream_.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _stage(options: argparse.Namespace) -> None:
    from tidegate.binding import bound

    bound(options.command, Path.cwd())()


def _repro(_: argparse.Namespace) -> None:
    from tidegate.commands import repro

    repro(Path.cwd())


def _flow(_: argparse.Namespace) -> None:
    if not Path("flows/train.py").exists():
        raise PipelineError(str(Path.cwd()), "has no flows/train.py", "Run in the root of the clone")
    from tidegate.binding import check

    check(Path.cwd())  # before a server is started for it
    from flows.train import main as run

    run()


def _sync(_: argparse.Namespace) -> None:
    from tidegate.sync import sync

    sync(Path.cwd())


def _promote(_: argparse.Namespace) -> None:
    from tidegate.release.promotion import promote

    promote(Path.cwd())


def _say(options: argparse.Namespace) -> None:
    from tidegate.release import people

    say = people.approve if options.command == "approve" else people.reject
    say(Path.cwd(), options.digest, by=options.by, why=options.why)


def _rollback(options: argparse.Namespace) -> None:
    from tidegate.release.people import rollback

    rollback(Path.cwd(), to=options.to, by=options.by, why=options.why)


def _verify(options: argparse.Namespace) -> None:
    from tidegate.release.verification import verify

    verify(Path.cwd(), options.version)


def _monitor(_: argparse.Namespace) -> None:
    from flows.monitor import main as run

    run()


def _retrain(options: argparse.Namespace) -> None:
    from flows.retrain import main as run

    run(reason=options.reason)


def _lineage(options: argparse.Namespace) -> None:
    from tidegate.drawing import needs_plain
    from tidegate.release.lineage import tree

    print(tree(Path.cwd(), options.what, plain=needs_plain(sys.stdout)))


def _status(_: argparse.Namespace) -> None:
    from tidegate.commands import status

    status(Path.cwd())


def _result(_: argparse.Namespace) -> None:
    from tidegate.commands import print_result

    print_result(Path.cwd())


def _use(options: argparse.Namespace) -> None:
    from tidegate.scenario import use

    use(Path.cwd(), options.scenario)


def _serve(options: argparse.Namespace) -> None:
    from tidegate.commands import serve

    serve(Path.cwd(), options.folder, host=options.host, port=options.port)


def _sample(options: argparse.Namespace) -> None:
    from tidegate.commands import sample

    sample(Path.cwd(), options.file, options.rows)


def _feedback(options: argparse.Namespace) -> None:
    from tidegate.commands import feedback

    feedback(Path.cwd(), options.file, by=options.by)


if __name__ == "__main__":
    sys.exit(main())
