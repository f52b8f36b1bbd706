"""What `--help` shows beside the options themselves: in which group each stands, examples, and completion of names in the shell."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

GROUPS = {  # title: the options that stand in it, of whatever command; others stand under "options"
    "data": ("--data", "--data-limit", "--image-size", "--image-fit", "--skip-broken", "--data-memory", "--task", "--target", "--resize"),
    "what is searched for": ("--objective", "--constraint", "--until", "--profile"),
    "how it is searched": (
        "--strategy", "--evaluator", "--table", "--select", "--report", "--trials", "--seed-arch", "--prior", "--scheduler", "--inherit",
        "--scores", "--fidelity", "--control",
    ),
    "trainings": (
        "--minutes", "--epochs", "--recipe", "--set", "--weights", "--final-epochs", "--finalists", "--final-seeds",
        "--as-trial", "--seeds",
    ),
    "size": ("--phi", "--fit", "--alpha", "--beta", "--gamma", "--axis", "--divisor", "--grid", "--step", "--tolerance", "--budget"),
    "where it runs": (
        "--device", "--workers", "--threads", "--runner", "--ray", "--gpus", "--silence", "--runtime", "--batch", "--precision",
        "--repeats", "--jobs", "--seed",
    ),
    "results": ("--run", "--log", "--storage", "--out", "--export", "--to", "--preprocess", "--top", "--csv", "--plot", "--json"),
    "parts of your own": ("--plugin", "--allow-code"),
}  # fmt: skip
GROUP_OF = {option: title for title, options in GROUPS.items() for option in options}
GROUP_OF["scale --target"] = "size"  # there a cost, elsewhere a column of a table

EXAMPLES = {
    "search": (
        "nasforge search digits",
        "nasforge search --data photos/ --constraint 'size<=200kB' --minutes 30 --workers 2 --export onnx",
        "nasforge search mobile --data cifar10.npz --minutes 60 --workers 2 --constraint 'params<=1e6'",
        "nasforge search digits --objective accuracy,-macs --strategy nsga2 --trials 100 --run runs/mine",
        "nasforge search digits --log tensorboard",
    ),
    "zoo": ("nasforge zoo", "nasforge zoo 'resnet*'", "nasforge zoo --weights resnet18 resnet18.pth --out resnet18.safetensors"),
    "show": ("nasforge show resnet20", "nasforge show mobile", "nasforge show conv", "nasforge show runs/digits:0 --json"),
    "train": (
        "nasforge train resnet20 --data cifar10.npz --minutes 10",
        "nasforge train resnet20 --data cifar10.npz --recipe published",
        "nasforge train net.yaml --data images/ --epochs 30 --set lr=.01 --set 'augment={flip: .5}'",
    ),
    "score": (
        "nasforge score resnet20 --weights runs/train-resnet20/model.safetensors --data cifar10.npz",
        "nasforge score runs/digits --part val",
        "nasforge score resnet18 --weights resnet18.pth --data images/ --resize",
    ),
    "blocks": ("nasforge blocks", "nasforge blocks mbconv", "nasforge blocks --plugin mine.py --allow-code"),
    "spaces": ("nasforge spaces", "nasforge spaces mobile --json"),
    "recipes": ("nasforge recipes", "nasforge recipes resnet20", "nasforge recipes lr"),
    "metrics": ("nasforge metrics", "nasforge metrics accuracy"),
    "scale": ("nasforge scale resnet20 --phi 1 --out larger.yaml", "nasforge scale mobilenet_v2 --fit params=1e6"),
    "latency": ("nasforge latency resnet20 --runtime onnxruntime --threads 2",),
    "calibrate": ("nasforge calibrate fast --data images/ --out pi.json", "nasforge calibrate mobile --script away"),
    "locate": ("nasforge locate vgg16 vgg",),
    "export": ("nasforge export runs/digits --to onnx", "nasforge export resnet20 --to python --weights resnet20.safetensors"),
    "predict": (
        "nasforge predict runs/digits photo.png", "nasforge predict exported/net.onnx pictures/ --top 3 --csv answers.csv",
        "nasforge predict runs/scenes pictures/ --out maps",
    ),
    "runs": ("nasforge runs", "nasforge runs elsewhere --json"),
    "report": ("nasforge report runs/digits", "nasforge report runs/a runs/b --csv trials.csv"),
    "replay": ("nasforge replay runs/digits",),
    "bench": ("nasforge bench --strategies predictor,random --evals 50,100 --seeds 3",),
}


class Misused(SystemExit):
    """The end of a command that was given other words than it takes; `parts` says what is wrong, as `nasforge.errors.parts_of` does."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(2)
        about, found, rest = message.partition(": ")
        named = bool(found) and about.startswith("argument ")
        self.parts = {"error": rest if named else message, "where": about.removeprefix("argument ") if named else None, "remedy": remedy}


class Parser(argparse.ArgumentParser):
    """A parser that puts each option into its group."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._groups: dict[str, Any] = {}
        super().__init__(*args, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def add_argument(self, *names: str, **options: Any) -> argparse.Action:  # type: ignore[override]
        """Add an argument, in the group of its name where it has one."""
        command = self.prog.rpartition(" ")[2]
        title = GROUP_OF.get(f"{command} {names[0]}", GROUP_OF.get(names[0])) if names else None
        if title is None:
            action = super().add_argument(*names, **options)
        else:
            if title not in self._groups:
                self._groups[title] = self.add_argument_group(title)
            action = self._groups[title].add_argument(*names, **options)
        if action.dest in COMPLETED:
            action.completer = COMPLETED[action.dest]  # type: ignore[attr-defined]
        return action

    def format_help(self) -> str:
        """Return the help, with the groups in the order of GROUPS."""
        order = list(GROUPS)
        self._action_groups.sort(key=lambda group: order.index(group.title) if group.title in GROUPS else -1)
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end the process."""
        self.print_usage(sys.stderr)
        print(f"{self.prog}: error: {message}", file=sys.stderr)
        raise Misused(message, f"{self.prog} --help tells what it takes")


def examples_of(command: str) -> str:
    """Return the text below the options of a command."""
    given = EXAMPLES.get(command, ())
    return f"{'example' if len(given) == 1 else 'examples'}:\n" + "\n".join(f"  {line}" for line in given) if given else ""


def importing_torch(args: argparse.Namespace, then: str) -> None:
    """Say on stderr what a command is about to do, where torch is still to be imported, which alone takes seconds.

    then: what comes after, with the names of arguments in braces.
    """
    if "torch" in sys.modules or args.json or getattr(args, "quiet", False):
        return
    given = {name: " ".join(map(str, value)) if isinstance(value, list) else value for name, value in vars(args).items()}
    given["data"] = given.get("data") or "the data"
    given["space"] = given.get("space") or "the space"
    print(f"nasforge {args.command}: {then.format_map(given)}; torch is imported first, a few seconds", file=sys.stderr, flush=True)


# ---------------------------------------------------------------- completion, where argcomplete is installed


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell and end the process, where it is the shell that asks."""
    try:
        import argcomplete
    except ImportError:
        return
    argcomplete.autocomplete(parser)


def _networks() -> list[str]:
    from nasforge import zoo

    return zoo.names()


def _spaces() -> list[str]:
    from nasforge.spaces.files import space_names

    return space_names()


def _parts(kind: str) -> list[str]:
    from nasforge.api import parts

    return list(getattr(parts, kind)())


def _recipes() -> list[str]:
    from nasforge import zoo

    return ["published", *(name for names in zoo.recipes().values() for name in names)]


def _with_files(names: Callable[[], list[str]]) -> Callable[..., list[str]]:
    """Names, and files and folders that begin as the word does."""

    def found(prefix: str = "", **_: Any) -> list[str]:
        return [*(name for name in names() if name.startswith(prefix)), *_files(prefix)]

    return found


def _files(prefix: str) -> Iterator[str]:
    from glob import escape, glob
    from os.path import isdir

    for path in sorted(glob(escape(prefix) + "*")):
        yield path + "/" if isdir(path) else path


def _only(names: Callable[[], list[str]]) -> Callable[..., list[str]]:
    return lambda prefix="", **_: [name for name in names() if name.startswith(prefix)]


STRATEGIES = ("predictor", "random", "evolution", "local", "tpe", "nsga2", "nsga3", "reinforce", "progressive", "grid",
              *(f"tune:{name}" for name in ("hyperopt", "bohb", "ax", "nevergrad", "bayesopt", "optuna", "zoopt")))  # fmt: skip
SCHEDULERS = ("asha", "median", "halving", "hyperband", "none",
              *(f"tune:{name}" for name in ("asha", "hyperband", "bohb", "median", "pbt")))  # fmt: skip
COMPLETED = {  # by where argparse keeps the argument
    "arch": _with_files(_networks), "space": _with_files(_spaces),
    "what": _with_files(lambda: [*_networks(), *_spaces(), *_parts("blocks")]),
    "pattern": _only(_networks), "strategy": _only(lambda: list(STRATEGIES)), "scheduler": _only(lambda: list(SCHEDULERS)),
    "runner": _only(lambda: ["local", "inline", "ray", "tune"]), "objective": _only(lambda: _parts("metrics")),
    "recipe": _with_files(_recipes), "data": _with_files(lambda: ["digits", "digit_scenes", "diabetes"]),
    "block": _only(lambda: _parts("blocks")), "metric": _only(lambda: _parts("metrics")),
    "log": _only(lambda: ["tensorboard", "mlflow", "wandb"]),
    "published": _only(lambda: [*_recipes()[1:], *_parts("words")]),
}  # fmt: skip
