"""The command line. Only the command that is asked for is imported, so that `--help` answers at once."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType

from nasforge.cli_help import Misused, Parser, complete, examples_of, importing_torch
from nasforge.errors import Terminated, UserError, parts_of

ARCH = "a documented network, a file, or RUN:NAME (a finalist) or RUN:NUMBER (a trial)"

LISTS = ("blocks", "spaces", "recipes", "metrics", "runs", "show")  # what they name, they look up themselves
FIRST = {  # what a command does once torch is imported
    "search": "reads {space} and {data}, then says what it is going to do",
    "train": "reads {data}, then trains {arch}",
    "score": "reads {data}, then scores {arch}",
    "report": "reads {run}",
    "export": "writes {arch} for {to}, then runs it in a fresh process",
    "predict": "reads {network}, then {files}",
    "scale": "counts {arch}",
    "latency": "measures {arch}, some seconds",
    "calibrate": "measures {networks} networks of {space}, about a second each",
    "locate": "looks for {arch} in {space}",
    "replay": "decides {run} again",
    "bench": "compares strategies on a table, some seconds a strategy",
    "zoo": "reads {weights}",
}

INHERIT = ("copy", "grow", "shrink")


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = Parser(
        prog="nasforge", description="Neural architecture search: given data, a device and a limit, the best network that fits.",
        epilog="nasforge COMMAND --help tells of a command, with examples",
    )  # fmt: skip
    top.add_argument("--version", action="version", version=_version(), help="print the version")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (
        _search, _zoo, _show, _lists, _train, _score, _scale, _latency, _calibrate, _locate, _export, _predict, _runs, _report, _replay,
        _bench,
    ):  # fmt: skip
        add(commands)
    return top


def _version() -> str:
    from importlib.metadata import version

    return f"nasforge {version('nasforge')}"


def _command(commands: argparse._SubParsersAction, name: str, text: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", epilog=examples_of(name))
    command.add_argument("--plugin", action="append", default=[], metavar="FILE", help="a file with parts of your own; may be repeated")
    command.add_argument("--allow-code", action="store_true", help="let --plugin, or --data module:function, run code")
    command.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else")
    return command


def _data(
    command: argparse.ArgumentParser, what: str = "digits, digit_scenes, diabetes, a folder, a file, or module:function (default: digits)"
) -> None:
    command.add_argument("--data", help=what)
    command.add_argument("--data-limit", type=int, metavar="N", help="keep N training samples")
    command.add_argument("--image-size", metavar="N|HxW", help="bring image files to this size (default: theirs, or one that suits them)")
    command.add_argument("--image-fit", choices=("crop", "pad", "squash"), help="of images of other sides the middle (default), "
                         "all of it with the mean color around, or both sides resized")  # fmt: skip
    command.add_argument("--skip-broken", action="store_true", help="leave out image files that cannot be decoded")
    command.add_argument("--data-memory", type=float, metavar="GIB", help="memory for the data; more is read as needed (default: 2)")


def _learned(command: argparse.ArgumentParser) -> None:
    command.add_argument("--task", help="what is learned, such as regression or multilabel (default: by the data)")
    command.add_argument("--target", metavar="NAME", help="the column of a table, or the language, that is the target")


def _search(commands: argparse._SubParsersAction) -> None:
    c = _command(commands, "search", "search a space for the best networks; a run that exists is resumed")
    c.add_argument("space", metavar="SPACE", nargs="?", help="a packaged space or a file (default: the packaged one for such data)")
    _data(c, "digits, digit_scenes, diabetes, a folder, a file, or module:function (default: the space's own, else digits)")
    _learned(c)
    c.add_argument(
        "--strategy",
        help="predictor, random, evolution, local, tpe, nsga2, nsga3, reinforce, progressive, grid; or a searcher of Ray Tune: "
        "tune:hyperopt, bohb, ax, nevergrad, bayesopt, optuna, zoopt (default: the space's own, else predictor)",
    )
    c.add_argument("--evaluator", default=None, help="train; proxy: zero-cost scores, finalists are trained; table: look up "
                   "(default: the space's own, else train)")  # fmt: skip
    c.add_argument("--table", metavar="FILE", help="with --evaluator table: a tabular benchmark of SPACE, as of bench")
    c.add_argument("--select", metavar="COLUMN", help="with --evaluator table: the column that is val")
    c.add_argument("--report", metavar="COLUMN", help="with --evaluator table: the column that is test")
    c.add_argument("--minutes", type=float, metavar="M", help="time for everything: search, final trainings, page, instead of --trials "
                   "(default: the space's own, else none)")  # fmt: skip
    c.add_argument("--until", action="append", metavar="LIMIT", help="ask no more once a trial reaches this, such as 'accuracy>=.98'")
    c.add_argument("--trials", type=int, help="architectures to train (default: the space's own, else 40)")
    c.add_argument(
        "--objective",
        help="accuracy, or several: accuracy,-params (a minus: the smaller the better), or a product: 'accuracy*(macs/1e6)^-0.07' "
            "(default: the space's own, else the metric of the task and few parameters)",
    )
    c.add_argument("--constraint", action="append", metavar="LIMIT", help="such as 'params<=20000'; may be repeated, goes before the "
                   "space's own of that metric; none: without the space's own")  # fmt: skip
    c.add_argument("--seed-arch", nargs="+", metavar="NAME", help=f"baselines: {ARCH}; those inside the space are evaluated first "
                   "(default: the space's own, else none)")  # fmt: skip
    c.add_argument("--prior", nargs="+", metavar="RUN", help="earlier runs on the same space and data to learn from")
    c.add_argument(
        "--scheduler",
        "--pruner",
        dest="scheduler",
        metavar="NAME",
        help="early stopping: asha, median, none; or pausing and promoting: halving, hyperband; with --runner tune also tune:asha, "
        "hyperband, bohb, median, pbt (default: the space's own, else asha)",
    )
    c.add_argument("--runtime", default=None, metavar="NAME", help="that runs networks when latency is measured: eager (default), compile, "
                   "onnxruntime, openvino")  # fmt: skip
    c.add_argument(
        "--profile",
        action="append",
        metavar="[NAME=]FILE",
        help="a device profile of calibrate: too slow networks are not even trained; with NAME, latency_ms@NAME is a metric",
    )
    c.add_argument("--inherit", nargs="?", const="copy", default=False, choices=INHERIT,
                   help="begin each training with the weights of the nearest network trained: those that fit (copy), computing what it "
                        "does where that can be (grow), or those that fit, drawn towards initial ones (shrink)")  # fmt: skip
    c.add_argument("--scores", metavar="NAMES", help="zero-cost scores that the predictor reads too: synflow,jacob_cov,... "
                   "(default: the space's own, else none)")  # fmt: skip
    c.add_argument("--fidelity", help="what grows where trainings pause: epochs, data, resolution (default: the space's own, else epochs)")
    c.add_argument("--epochs", type=int, help="epochs of a trial (default: the space's own, else by the data)")
    c.add_argument("--final-epochs", type=int, help="epochs of a finalist (default: the space's own, else by the data)")
    c.add_argument("--finalists", type=int, help="networks to retrain at the end (default: the space's own, else 4; with --minutes 2)")
    c.add_argument("--final-seeds", type=int, help="trainings of each of them (default: the space's own, else 3; with --minutes 1)")
    c.add_argument(
        "--control", action=argparse.BooleanOptionalAction,
        help="an equal-budget random search beside, to compare with (default: the space's own, else none)",
    )
    c.add_argument("--workers", type=int, default=1, metavar="N", help="worker processes (default: 1)")
    c.add_argument("--threads", type=int, metavar="N", help="torch threads a worker (default: 1 beside others)")
    c.add_argument("--runner", help="local (default), inline (this process), ray, tune (Ray Tune places the trials)")
    c.add_argument("--ray", nargs="?", const="local", metavar="ADDRESS", help="workers on a Ray cluster (here, or at ADDRESS)")
    c.add_argument("--gpus", type=float, default=1.0, metavar="N", help="GPUs a worker on Ray: .25 lets four share one (default: 1)")
    c.add_argument(
        "--silence", type=float, default=7200.0, metavar="SECONDS", help="a worker without an epoch for longer is ended (default: 7200)"
    )
    c.add_argument("--storage", metavar="URL", help="an Optuna storage URL (default: a journal in the run folder)")
    c.add_argument("--device", default="cpu", help="cpu, cuda, ... (default: cpu)")
    c.add_argument("--run", metavar="DIR", help="run folder (default: runs/SPACE)")
    c.add_argument("--log", metavar="NAMES", help="tell trackers how it goes: tensorboard,mlflow,wandb (default: none)")
    c.add_argument("--seed", type=int, default=0, help="of everything that is drawn (default: 0)")
    c.add_argument("--export", choices=("python", "onnx", "torch"), help="export the winner into the run folder")
    said = c.add_mutually_exclusive_group()
    said.add_argument("--quiet", action="store_true", help="say nothing before the end")
    said.add_argument("--verbose", action="store_true", help="a line for each training that ends")


def _zoo(commands: argparse._SubParsersAction) -> None:
    c = _command(commands, "zoo", "list documented networks with their figures and sources")
    c.add_argument("pattern", nargs="?", default="*", metavar="PATTERN", help="a name with * and ?")
    c.add_argument(
        "--weights", nargs=2, metavar=("ARCH", "FILE"), help="map the weights of torchvision or timm in FILE (.pth, .safetensors)"
    )
    c.add_argument(
        "--check", nargs=2, metavar=("IN", "OUT"), help="with --weights: a batch and its outputs by the library's model, .npy files"
    )
    c.add_argument("--out", metavar="FILE", help="with --weights: where to write them (default: ARCH.safetensors)")
    c.add_argument("--partial", action="store_true", help="with --weights: layers that do not fit get fresh weights")
    c.add_argument(
        "--norm-eps", type=float, metavar="E", help="with --weights: what its batch norms add to the variance (default: as known)"
    )
    c.add_argument(
        "--pad", choices=("same", "tf"), help="with --weights: how their network pads, tf as TensorFlow (default: tf if FILE is named tf_)"
    )


def _show(commands: argparse._SubParsersAction) -> None:
    c = _command(commands, "show", "show the layer table of an architecture, the size of a space, or the arguments of a block")
    c.add_argument("what", metavar="ARCH|SPACE|BLOCK", help=f"{ARCH}; or a space, or a block")
    c.add_argument(
        "--counting", choices=("macs", "textbook"), default="macs", help="textbook: the notes' operations and memory in elements"
    )
    c.add_argument("--device", metavar="DEV", help="roofline of each layer on `here` (this machine, probed) or a JSON file of a device")


def _lists(commands: argparse._SubParsersAction) -> None:
    for name, dest, text, what in (
        ("blocks", "block", "list the blocks that networks are made of, or tell of one", "a block"),
        ("spaces", "space", "list the packaged spaces, or tell what one leaves open", "a space, or a file"),
        ("recipes", "published", "list published recipes and the words of recipes, or tell of one", "a network, or a word of a recipe"),
        ("metrics", "metric", "list the metrics, or tell of one", "a metric"),
    ):
        _command(commands, name, text).add_argument(dest, nargs="?", metavar="NAME", help=f"{what} (default: list all)")


def _score(commands: argparse._SubParsersAction) -> None:
    c = _command(commands, "score", "score a trained network on data: accuracy, or the metrics of its task")
    c.add_argument("arch", metavar="ARCH", help=f"{ARCH}; RUN alone is its winner, the folder of a training what it trained")
    c.add_argument("--weights", metavar="FILE", help="safetensors, or .pth of torchvision or timm (default: those of the run)")
    c.add_argument("--part", choices=("test", "val", "train"), default="test", help="of the data (default: test)")
    _data(c)
    _learned(c)
    c.add_argument("--resize", action="store_true", help="bring the images to the side that the network reads")
    c.add_argument("--threads", type=int, metavar="N", help="of a CPU (default: one for every core)")
    c.add_argument("--norm-eps", type=float, metavar="E", help="what batch norms of the file add to the variance (default: as known)")
    c.add_argument("--device", default="cpu", help="cpu, cuda, ... (default: cpu)")


def _train(commands: argparse._SubParsersAction) -> None:
    c = _command(commands, "train", "train one architecture with its recipe and score it on test")
    c.add_argument("arch", metavar="ARCH", help=ARCH)
    _data(c)
    _learned(c)
    c.add_argument("--minutes", type=float, metavar="M", help="train for so long, with as many epochs as that allows, on every core")
    c.add_argument("--epochs", type=int, help="at most so many (default: by the data)")
    c.add_argument(
        "--recipe", metavar="FILE|NAME", help="values of a recipe in a file, a documented network's recipe, or `published`: ARCH's own"
    )
    c.add_argument("--set", action="append", metavar="WORD=VALUE", help="any word of a recipe, such as lr=.1; may be repeated")
    c.add_argument("--seed", type=int, default=0, help="of everything that is drawn (default: 0)")
    c.add_argument("--device", default="cpu", help="cpu, cuda, ... (default: cpu)")
    c.add_argument("--weights", metavar="FILE", help="begin with these (safetensors, or .pth of a library); what does not fit begins fresh")
    c.add_argument("--as-trial", action="store_true", help="train RUN:NUMBER as its search did, and compare with what that recorded")
    c.add_argument("--resize", action="store_true", help="bring the images to the side that the network reads, not the network to theirs")
    c.add_argument("--out", metavar="DIR", help="folder for weights, checkpoint and curve (default: runs/train-NAME)")
    how = c.add_mutually_exclusive_group()
    how.add_argument("--quiet", action="store_true", help="print the result alone")
    how.add_argument("--verbose", action="store_true", help="print the recipe, and progress every second also where it is no terminal")


def _scale(commands: argparse._SubParsersAction) -> None:
    c = _command(commands, "scale", "grow or shrink an architecture in depth, width and resolution")
    c.add_argument("arch", metavar="ARCH", help=ARCH)
    c.add_argument("--phi", type=float, help="compound coefficient: depth alpha^phi, width beta^phi, resolution gamma^phi")
    c.add_argument("--fit", metavar="METRIC=NUMBER", help="the largest member that fits: params, macs, memory (bytes), latency_ms ...")
    c.add_argument("--alpha", type=float, help="base of the depth (default: 1.2)")
    c.add_argument("--beta", type=float, help="base of the width (default: 1.1)")
    c.add_argument("--gamma", type=float, help="base of the resolution (default: 1.15)")
    c.add_argument("--axis", metavar="A", help="one axis, to the same multiply-adds: depth, width, resolution, cardinality, pyramid")
    c.add_argument("--divisor", type=int, default=8, help="widths are multiples of it where they are now (default: 8)")
    c.add_argument("--profile", metavar="FILE", help="latency_ms by a profile of calibrate (default: measured here)")
    c.add_argument("--grid", action="store_true", help="search alpha, beta, gamma by short trainings on --data first")
    c.add_argument("--step", type=float, default=0.1, help="of the grid (default: .1)")
    c.add_argument("--target", type=float, default=2.0, help="alpha*beta^2*gamma^2, or the cost as a multiple (default: 2)")
    c.add_argument("--tolerance", type=float, default=0.1, help="share by which that may be missed (default: .1)")
    c.add_argument("--budget", metavar="METRIC", help="the real cost decides: macs, params, peak_bytes, latency_ms")
    c.add_argument("--epochs", type=int, help="of each candidate (default: by the data)")
    c.add_argument("--seeds", type=int, default=1, help="trainings of each candidate (default: 1)")
    c.add_argument("--seed", type=int, default=0, help="of everything that is drawn (default: 0)")
    c.add_argument("--device", default="cpu", help="cpu, cuda, ... (default: cpu)")
    _data(c)
    c.add_argument("--out", metavar="FILE", help="write the architecture")


def _conditions(c: argparse.ArgumentParser) -> None:
    c.add_argument("--device", default="cpu", help="cpu, cuda, ... (default: cpu)")
    c.add_argument("--runtime", default="eager", help="eager, compile, onnxruntime, openvino (default: eager)")
    c.add_argument("--batch", type=int, default=1, help="samples of a pass (default: 1)")
    c.add_argument("--threads", type=int, default=1, help="of a CPU (default: 1)")
    c.add_argument("--precision", default="float32", help="float32, bfloat16, float16 (default: float32)")
    c.add_argument("--repeats", type=int, default=30, help="timed passes of each network; repeated while they are noisy (default: 30)")


def _latency(commands: argparse._SubParsersAction) -> None:
    c = _command(commands, "latency", "measure the latency of an architecture on this machine")
    c.add_argument("arch", metavar="ARCH", help=ARCH)
    _data(c)
    _conditions(c)
    c.add_argument("--profile", metavar="FILE", help="also predict with a calibrated profile")


def _calibrate(commands: argparse._SubParsersAction) -> None:
    c = _command(commands, "calibrate", "measure a few networks of a space, fit a latency predictor, print its error")
    c.add_argument("space", metavar="SPACE", help="a packaged space or a file")
    _data(c)
    _conditions(c)
    c.add_argument("--networks", type=int, default=40, metavar="N", help="so many are measured (default: 40)")
    c.add_argument("--seed", type=int, default=0, help="of everything that is drawn (default: 0)")
    c.add_argument("--out", metavar="FILE", default="profile.json", help="the profile (default: profile.json)")
    c.add_argument("--script", metavar="DIR", help="measure nothing: write the networks and a script to run on the target machine")
    c.add_argument("--measured", metavar="FILE", help="measure nothing: the profile of what that script measured")


def _locate(commands: argparse._SubParsersAction) -> None:
    c = _command(commands, "locate", "find the choices that give an architecture in a space")
    c.add_argument("arch", metavar="ARCH", help=ARCH)
    c.add_argument("space", metavar="SPACE", help="a packaged space or a file")


def _export(commands: argparse._SubParsersAction) -> None:
    c = _command(commands, "export", "take a network away: one Python file, ONNX, or torch.export, checked in a fresh process")
    c.add_argument("arch", metavar="ARCH|RUN[:trial]", help=f"{ARCH}; RUN alone is its winner")
    c.add_argument("--to", choices=("onnx", "torch", "python"), required=True, help="the form")
    c.add_argument("--out", metavar="DIR", default="exported", help="folder for it (default: exported)")
    c.add_argument("--weights", metavar="FILE", help="safetensors of the architecture (default: those of the run, else fresh ones)")
    c.add_argument("--preprocess", choices=("inside", "none"), default="inside",
                   help="inside (default): it reads raw numbers and normalizes them itself, where a run tells how; none: it does not")
    _its_data(c)


def _predict(commands: argparse._SubParsersAction) -> None:
    c = _command(commands, "predict", "say what a network makes of images, rows of tables, texts")
    c.add_argument("network", metavar="RUN|EXPORT", help="a run, RUN:NAME, the folder of a training, or an exported file")
    c.add_argument("files", nargs="+", metavar="FILES", help="as the network has learned from, or folders of them")
    c.add_argument("--top", type=int, default=5, metavar="K", help="classes to tell of (default: 5)")
    c.add_argument("--csv", metavar="FILE", help="write a table instead: file, class, probability, ...")
    c.add_argument("--out", metavar="FOLDER", help="of segmentation: write the class of each pixel of an image there, as PNG")
    _its_data(c)


def _its_data(c: argparse.ArgumentParser) -> None:
    _data(c, "what it was trained on, where the run does not find it")
    _learned(c)


def _runs(commands: argparse._SubParsersAction) -> None:
    c = _command(commands, "runs", "list the runs in a folder, the latest first: state, score, time")
    c.add_argument("folder", nargs="?", default="runs", metavar="FOLDER", help="a folder of runs, or one run (default: runs)")


def _report(commands: argparse._SubParsersAction) -> None:
    c = _command(commands, "report", "write a run's HTML page, or one of several side by side, and tell the same in words")
    c.add_argument("run", nargs="+", metavar="RUN", help="the folder of a search; several are compared")
    c.add_argument("--storage", metavar="URL", help="the storage URL that the search was given (default: as its manifest says)")
    c.add_argument("--against", metavar="RUN", help="one more run, whose space must be compared by the errors of networks drawn at random")
    c.add_argument("--csv", metavar="FILE", help="also write the trials as a table, with a column `run` where there are several runs")
    c.add_argument("--out", metavar="FILE", help="the page (default: report.html in RUN, comparison.html beside the first of several)")


def _replay(commands: argparse._SubParsersAction) -> None:
    c = _command(commands, "replay", "decide a run again from its journal, and tell where the decisions part")
    c.add_argument("run", metavar="RUN", help="the folder of a search")


def _bench(commands: argparse._SubParsersAction) -> None:
    c = _command(commands, "bench", "compare strategies on tabular benchmarks: regret against evaluations")
    c.add_argument("--table", metavar="FILE", help="csv with NAS-Bench-201's `arch`, json of NAS-Bench-Macro, jsonl of NAS-Bench-NLP")
    c.add_argument("--select", metavar="COLUMN", help="what a strategy sees (default: val; c10_valid_e12; acc1; val_loss)")
    c.add_argument("--report", metavar="COLUMN", help="what is told of its network (default: test; c10_test_e200; mean_acc; test_loss)")
    c.add_argument("--strategies", metavar="NAMES", help="with commas between (default: all but grid)")
    c.add_argument("--seeds", type=int, default=10, help="runs of each strategy (default: 10)")
    c.add_argument("--first", type=int, default=0, metavar="SEED", help="the seed of the first run (default: 0)")
    c.add_argument("--evals", default="50,100,200", help="evaluations at which regret is told (default: 50,100,200)")
    c.add_argument("--workers", type=int, default=1, help="simulated workers that end out of order (default: 1)")
    c.add_argument("--jobs", type=int, default=1, help="processes that share the runs (default: 1)")
    c.add_argument("--plot", metavar="FILE", help="also draw regret against evaluations as SVG")
    c.add_argument("--speed", action="store_true", help="instead: milliseconds of an ask and tell at 10 to 10,000 trials")
    c.add_argument("--latency", metavar="FILE", help="instead: a table of latencies, each device predicted from a few measured networks")
    c.add_argument("--transfer", metavar="FILE", help="with --latency: a table of devices that are already known")
    c.add_argument("--samples", default="10,25,50", help="with --latency: how many networks are measured (default: 10,25,50)")


def _load_plugins(args: argparse.Namespace) -> None:
    """The plugins of installed packages, and those given; where there are none, nothing is imported."""
    from importlib.metadata import entry_points

    if args.plugin and not args.allow_code:
        raise UserError(f"--plugin {args.plugin[0]}: would run code of its own; if you trust it, add --allow-code")
    if args.plugin or entry_points(group="nasforge.plugins"):
        _say_first(args)
        importlib.import_module("nasforge.plugins").load_plugins(*args.plugin)


def _joined(argv: Sequence[str]) -> list[str]:
    """The words as argparse understands them: `--objective -params` as one, and nothing but its values after `--inherit`."""
    out: list[str] = []
    for word in argv:
        if out and out[-1] == "--inherit" and word[:1] != "-" and word not in INHERIT:
            out[-1] += "=copy"
        if out and len(out[-1]) > len("--o") and "--objective".startswith(out[-1]) and word[:1] == "-" and word[:2] != "--":
            out[-1] += f"={word}"
        else:
            out.append(word)
    return out


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does; a second one changes nothing."""

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    if threading.current_thread() is not threading.main_thread():  # only that one may say what signals do
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status of a command: 0 done, 2 a mistake in what was given, 1 a failure, 130 stopped by Ctrl-C, 143 by SIGTERM."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be no text
    words = _joined(sys.argv[1:] if argv is None else argv)
    made = parser()
    if "_ARGCOMPLETE" in os.environ:
        complete(made)
    try:
        args = made.parse_args(words)
    except Misused as mistake:
        if "--json" in words:
            _print_error(mistake.parts)
        raise
    with _ended_in_order():
        return _carried_out(args)


def _carried_out(args: argparse.Namespace) -> int:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by torch when it is imported; workers set their own
    try:
        _load_plugins(args)
        if args.command not in LISTS:
            importlib.import_module("nasforge.commands.early").check(args)
        _say_first(args)
        return importlib.import_module(f"nasforge.commands.{args.command}").run(args)
    except UserError as error:
        return _failed(args, str(error), 2)
    except KeyboardInterrupt as stopped:
        return _failed(args, "stopped; what had ended is kept, the same command goes on", 143 if isinstance(stopped, Terminated) else 130)
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except OSError as error:
        return _failed(args, f"{error.strerror or error} ({error.filename or 'no file named'}); choose another folder", 1)


def _say_first(args: argparse.Namespace) -> None:
    """Say what a command that needs torch is about to do."""
    if args.command in FIRST and (args.command != "zoo" or args.weights):
        importing_torch(args, FIRST[args.command])


def _failed(args: argparse.Namespace, message: str, status: int) -> int:
    """The exit status, after saying what went wrong: in one line, and with --json as an object on stdout too."""
    print(f"nasforge {args.command}: {message}", file=sys.stderr)
    if getattr(args, "json", False):
        _print_error(parts_of(message))
    return status


def _print_error(parts: Mapping[str, str | None]) -> None:
    print(json.dumps(parts, indent=1))


if __name__ == "__main__":
    sys.exit(main())
