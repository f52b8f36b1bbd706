"""Space and architecture files: safe YAML in, readable YAML out, and where the packaged ones lie."""

from __future__ import annotations

import re
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from nasforge.errors import UserError, nearest

SUFFIXES = (".yaml", ".yml", ".json")
MOST_BESIDE = 1000  # files of a folder among which a near name is looked for
MAX_NODES = 200_000  # more than any real file; stops alias bombs
PACKAGE = Path(__file__).resolve().parent.parent
SPACES = (PACKAGE / "search_spaces", PACKAGE.parent / "search_spaces")  # in an installed wheel, in a clone


class _Loader(yaml.SafeLoader):
    """Safe YAML with the numbers and words a researcher means: 1e-3 is a number, `on` and `no` are words."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, rule)
        for tag, rule in rules
        if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")
    ]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_FLOAT = r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"

_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(_FLOAT), list("-+0123456789."))


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    out: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        name = loader.construct_object(key_node, deep=True)
        if not isinstance(name, str | int | float | bool | None):
            raise UserError(f"{_mark(key_node)}: a key must be a word or a number, got {name!r}")
        if name in out:
            raise UserError(f"{_mark(key_node)}: the key {name!r} stands twice; keep one")
        out[name] = loader.construct_object(value_node, deep=True)
    return out


def _mark(node: yaml.Node) -> str:
    return f"{node.start_mark.name}:{node.start_mark.line + 1}"


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def parse(text: str, where: str = "text") -> Any:
    """Return the plain data of YAML (or JSON) text. Raises UserError with file and line."""
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:
        raise UserError(f"{where}: holds characters that no text has ({str(error).splitlines()[0]})") from None
    loader.name = where
    try:
        data = loader.get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{where}{line}: not valid YAML ({getattr(error, 'problem', None) or error})") from None
    except RecursionError:
        raise UserError(f"{where}: nested too deeply to be an architecture") from None
    finally:
        loader.dispose()
    _bounded(data, where)
    return data


def _bounded(data: Any, where: str) -> None:
    stack, seen = [(data, 0)], 0
    while stack:
        item, depth = stack.pop()
        seen += 1
        if seen > MAX_NODES or depth > 100:
            raise UserError(f"{where}: at most {MAX_NODES} values, nested at most 100 deep, are allowed in one file")
        if isinstance(item, dict):
            stack.extend((v, depth + 1) for v in item.values())
        elif isinstance(item, list):
            stack.extend((v, depth + 1) for v in item)


def read(path: str | Path) -> dict[str, Any]:
    """Return the mapping in a YAML or JSON file. Raises UserError if it is absent or no mapping."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error})") from None
    data = parse(text, str(path))
    if not isinstance(data, dict):
        raise UserError(f"{path}: a space or architecture file is a mapping with input, body, head ..., got {type(data).__name__}")
    return data


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def dump(data: Any) -> str:
    """YAML text that reads back to equal data; short blocks stay on one line."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)


def write(data: Any, path: str | Path) -> Path:
    """Return the path of the YAML file written; the file appears whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(dump(data), encoding="utf-8")
    part.replace(path)
    return path


def space_names() -> list[str]:
    """Return the packaged spaces, sorted."""
    return sorted({p.stem for folder in SPACES for p in folder.glob("*.yaml")})


def check_there(name: str) -> None:
    """Raise UserError where `name` is a path, by its look, and no file is there."""
    path = Path(name)
    if path.is_dir():
        raise UserError(f"{name}: is a folder without a search; give a file, or the folder of a run")
    if path.suffix.lower() not in SUFFIXES and "/" not in name:
        return
    if not path.parent.is_dir():
        raise UserError(f"{name}: no such file, for there is no folder {path.parent}")
    beside = [p.name for p in islice(path.parent.iterdir(), MOST_BESIDE) if p.suffix.lower() in SUFFIXES]
    near = get_close_matches(path.name, beside, n=1, cutoff=0.6)
    raise UserError(f"{name}: no such file" + (f"; did you mean {str(path.with_name(near[0]))!r}?" if near else ""))


def find_space(name: str) -> Path:
    """Return the file that `name` means: a path, or the name of a packaged space."""
    if Path(name).is_file():
        return Path(name)
    for folder in SPACES:
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    check_there(name)
    raise UserError(f"{name}: no such file, and no packaged space has that name; {nearest(name, space_names())}")
