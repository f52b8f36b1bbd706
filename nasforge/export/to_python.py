"""A network as one readable Python file that needs torch alone, with its weights in a safetensors file beside it."""

from __future__ import annotations

import inspect
import json
import keyword
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save
from torch import Tensor

from nasforge.blocks.core.padding import cleared, each_step, with_lengths
from nasforge.blocks.core.shapes import Shape, Tokens, is_uneven
from nasforge.export.describe import FRESH, in_words
from nasforge.export.lift import lift
from nasforge.export.raw import FromRaw, resampling
from nasforge.export.spell import Spelled, literal, spell, value_of, within, write
from nasforge.export.wires import Line, Straight, straight
from nasforge.networks.build import input_shapes, steps
from nasforge.networks.network import Network
from nasforge.spaces.arch import Arch

DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
OWN_IMPORTS = {
    ("json", None, "json"), ("pathlib", "Path", "Path"), ("torch", None, "torch"), ("torch", "Tensor", "Tensor"), ("torch", "nn", "nn"),
}  # fmt: skip
OWN_NAMES = {"Any", "DTYPES", "FromRaw", "Mapping", "Model", "PREPROCESS", "WEIGHTS", "example", "load", "read_weights", "resampling", "y"}
OWN_NAMES |= {name for *_, name in OWN_IMPORTS}

HEADER = '''"""{title}, as one file that needs torch alone.

{facts}

Weights: {name}.safetensors beside this file; their names are those of nasforge without the leading `steps.`. To predict:

    from {name} import load

    model = load()
    y = model({call})
"""'''

LOADER = '''
WEIGHTS = Path(__file__).with_name("{name}.safetensors")
DTYPES = {{{dtypes}}}


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file: 8 bytes with the length of a JSON header, the header, raw bytes."""
    data = bytearray(Path(path).read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    tensors = {{}}
    for name, entry in header.items():
        first, end = entry["data_offsets"]
        flat = torch.frombuffer(data[start + first : start + end], dtype=DTYPES[entry["dtype"]])
        tensors[name] = flat.view(entry["shape"])
    return tensors


def load(path: str | Path = WEIGHTS) -> Model:
    """The network with the weights of a file, in eval mode."""
    model = Model()
    model.load_state_dict(read_weights(path))
    return model.eval()


if __name__ == "__main__":
    example = {example}
    with torch.no_grad():
        y = load()({call})
    print({shown})
'''

RUN = """
import runpy
import torch
model = runpy.run_path(file, run_name="__main__")["load"]()
with torch.no_grad():
    torch.save([model(*xs) for xs in torch.load("inputs.pt")], "outputs.pt")
"""


def write_python(
    arch: Arch, network: Network | FromRaw, folder: Path, name: str, about: Mapping[str, Any] | None = None, trained: bool = True
) -> list[Path]:
    """Write the Python file and the weights file into `folder`. Raise UserError for a block that cannot be spelled.

    about: the description of preprocessing that it carries; of a network that reads raw numbers its `load()` does so too.
    """
    raw, network = (network, cast(Network, network.network)) if isinstance(network, FromRaw) else (None, network)
    name = _module_name(name)
    lines = straight(arch, network)
    dead = ("aux.", *(f"steps.{step}." for step in lines.dead))
    weights = {k.removeprefix("steps."): v.detach().cpu() for k, v in network.state_dict().items() if not k.startswith(dead)}
    params = sum(p.numel() for k, p in network.named_parameters() if not k.startswith(dead))
    code, data = folder / f"{name}.py", folder / f"{name}.safetensors"
    also: set[tuple[str, str | None, str]] = {("typing", "Any", "Any")} if about is not None else set()
    also |= {("collections.abc", "Mapping", "Mapping")} if raw is not None else set()
    header, source = _header(arch, network, name, lines, params, trained, raw), _source(arch, network, lines, also)
    text = [header, source, _described(about, raw), _loader(arch, name, weights, bool(network.heads), raw)]
    code.write_text("\n".join(text), encoding="utf-8")
    data.write_bytes(save({k: v.clone(memory_format=torch.contiguous_format) for k, v in weights.items()}))
    return [code, data]


def _module_name(name: str) -> str:
    """Return a name under which Python can import the file, and that hides nothing that the file imports."""
    word = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"{word}_" if keyword.iskeyword(word) or word == "torch" or word in sys.stdlib_module_names else word


def _header(arch: Arch, network: Network, name: str, lines: Straight, params: int, trained: bool, raw: FromRaw | None) -> str:
    shapes = input_shapes(arch)
    reads = "; ".join(f"{lines.inputs[k]} {_describe(shapes[k])}" for k in network.inputs)
    facts = [f"Input: {reads}. Output: {_returns(arch)}.", f"{params:,} parameters."]
    if not trained:
        facts.append(f"The weights are {FRESH}.")
    if raw is not None:
        reads = "; ".join(in_words(raw.inputs[key], True) for key in raw.names)
        facts.append(_plain(f"load() gives a network that normalizes by itself. Its input: {reads}."))
        facts.append("It is run on files by predict.py beside this file: `python predict.py FILES`.")
    if any(end.uneven for end in lines.heads or lines.lines[-1:]):
        facts.append("Sequences among the outputs are zero from where they end.")
    if network.aux:
        facts.append(f"Left out, since only training reads them: the auxiliary heads {_plain(', '.join(network.aux))}.")
    if lines.dead:
        facts.append(f"Left out, since no output depends on them: {', '.join(lines.dead)}.")
    title, call = _plain(str(arch.get("name", name))), ", ".join(lines.inputs.values())
    return HEADER.format(title=title, facts="\n".join(facts), name=name, call=call)


def _source(arch: Arch, network: Network, lines: Straight, also: set[tuple[str, str | None, str]]) -> str:
    """Return the imports, the network, and the classes and functions that it needs."""
    body = {line.name: spell(network.steps[line.name], line.name) for line in lines.lines}
    heads = {key: spell(module, f"heads.{key}") for key, module in network.heads.items()}
    parts = [part for one in (*body.values(), *heads.values()) for part in within(one)]
    classes: list[Any] = list(dict.fromkeys(p.opening for p in parts if isinstance(p.opening, type)))
    classes += [with_lengths, each_step, cleared] if lines.uneven else []
    words = {json.loads(p.opening) for p in parts if isinstance(p.opening, str) and p.opening.startswith('"')}
    lifted = lift(classes, words, OWN_NAMES)
    model = [*_init(body, heads, lifted.names, _returns(arch)), "", *_forward(lines)]
    top = ["", *imports(lifted.imports | OWN_IMPORTS | also), "", ""]
    return "\n".join([*top, *model, "", "", "# " + "-" * 64 + " blocks", "", "", lifted.code, ""])


def _plain(text: str) -> str:
    """Return text that cannot end a docstring: one line, no quotes or backslashes."""
    return " ".join(text.replace("\\", "/").replace('"', "'").split())


def _describe(shape: Shape) -> str:
    text = f"(B, {shape.length}), whole numbers below {shape.vocab}" if isinstance(shape, Tokens) else _sizes(shape)
    return f"{text}, {-1 if isinstance(shape, Tokens) else 'NaN'} from where a sequence ends" if is_uneven(shape) else text


def _sizes(shape: Shape) -> str:
    return f"({', '.join(['B', *map(str, shape)])})"


def _returns(arch: Arch) -> str:
    """Return the shapes of the outputs in words."""
    ends = [step for step in steps(arch) if not step.where.startswith("aux.")]
    heads = [f"{_plain(step.where.partition('.')[2])} {_sizes(step.probe.shapes[-1])}" for step in ends if step.where.startswith("heads.")]
    return f"a dict of {', '.join(heads)}" if heads else _sizes(ends[-1].probe.shapes[-1])


def imports(wanted: Iterable[tuple[str, str | None, str]]) -> list[str]:
    """Return import lines, Python's own first, in the order of isort. `wanted`: (module, name in it or None, name here)."""
    whole: set[str] = set()
    parts: dict[str, list[str]] = {}
    for module, name, alias in wanted:
        if name is None:
            whole.add(f"import {module}" if alias == module.partition(".")[0] else f"import {module} as {alias}")
        else:
            parts.setdefault(module, []).append(name if name == alias else f"{name} as {alias}")
    froms = {f"from {m} import {', '.join(sorted(n, key=_rank))}" for m, n in parts.items()}
    own = [line for line in (*sorted(whole), *sorted(froms)) if line.split()[1].partition(".")[0] in sys.stdlib_module_names]
    others = [line for line in (*sorted(whole), *sorted(froms)) if line not in own]
    return ["from __future__ import annotations", "", *own, "", *others]


def _rank(name: str) -> tuple[int, str]:
    """Rank constants before classes before the rest."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2, name)


def _init(body: Mapping[str, Spelled], heads: Mapping[str, Spelled], names: Mapping[type, str], returns: str) -> list[str]:
    text = ["class Model(nn.Module):", f'    """The network; gives {returns}."""', ""]
    text += ["    def __init__(self) -> None:", "        super().__init__()"]
    text += [write(spelled, names, f"self.{key} = ") for key, spelled in body.items()]
    if heads:
        table = Spelled("{", tuple((f"{literal(key)}: ", spelled) for key, spelled in heads.items()), "}")
        text.append(write(Spelled("nn.ModuleDict(", (("", table),), ")"), names, "self.heads = "))
    return text


def _forward(straight: Straight) -> list[str]:
    inputs = ", ".join(f"{name}: Tensor" for name in straight.inputs.values())
    text = [f"    def forward(self, {inputs}) -> {'dict[str, Tensor]' if straight.heads else 'Tensor'}:"]
    text += [f"        {name} = with_lengths({name})" for name in straight.uneven]
    for line in straight.lines:
        text.append(f"        {', '.join(line.writes)} = {_call(line, f'self.{line.name}')}  # {_sizes(line.shape)}")
    last = straight.lines[-1].writes[-1]
    if not straight.heads:
        return [*text, f"        return {f'cleared({last})' if straight.lines[-1].uneven else last}"]
    calls = {head.name: _call(head, f"self.heads[{literal(head.name)}]") for head in straight.heads}
    ends = {head.name: f"cleared({calls[head.name]})" if head.uneven else calls[head.name] for head in straight.heads}
    table = Spelled("{", tuple((f"{literal(name)}: ", Spelled(end)) for name, end in ends.items()), "}")
    return [*text, write(table, {}, "return ")]


def _call(line: Line, module: str) -> str:
    return f"each_step({module}, {line.reads[0]})" if line.stepwise else f"{module}({', '.join(line.reads)})"


def _described(about: Mapping[str, Any] | None, raw: FromRaw | None) -> str:
    """The description of preprocessing, and the classes that carry it out."""
    if about is None:
        return ""
    described = write(value_of(dict(about), ""), {}, "PREPROCESS: dict[str, Any] = ", 0)
    text = f"\n# {'-' * 64} preprocessing\n\n\n{described}"
    if raw is not None:
        text += "\n\n\n" + "\n\n".join(inspect.getsource(one) for one in (FromRaw, resampling))
    return text


def _loader(arch: Arch, name: str, weights: Mapping[str, Tensor], heads: bool, raw: FromRaw | None = None) -> str:
    kinds = sorted({v.dtype for v in weights.values()}, key=lambda kind: DTYPES[kind])
    examples = [_example(shape) for shape in input_shapes(arch).values()]
    loader = LOADER
    if raw is not None:
        examples = [f"torch.zeros({(1, *one['shape'])}, dtype=torch.{one['dtype']})" for one in (raw.inputs[key] for key in raw.names)]
        loader = loader.replace("-> Model:", "-> FromRaw:").replace("The network with", "The network, which reads raw numbers, with")
        loader = loader.replace("    return model.eval()", f"    return FromRaw(model, PREPROCESS, {raw.names!r}).eval()")
    return loader.format(
        name=name,
        dtypes=", ".join(f'"{DTYPES[kind]}": {kind}' for kind in kinds),
        example=examples[0] if len(examples) == 1 else f"[{', '.join(examples)}]",
        call="example" if len(examples) == 1 else "*example",
        shown="{name: head.shape for name, head in y.items()}" if heads else "y.shape",
    )


def _example(shape: Shape) -> str:
    return f"torch.randint({shape.vocab}, (1, {shape.length}))" if isinstance(shape, Tokens) else f"torch.rand{(1, *shape)}"
