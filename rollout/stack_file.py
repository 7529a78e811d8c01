"""Edits the text of a stack file: only the lines of what changed, whole or not at all."""

from __future__ import annotations

import io
import operator
import os
import re
import textwrap
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from models.errors import StackFileError
from models.stack import CONFIG_PREFIX, Stack, parse_stack

LOCK_TIMEOUT_SECONDS = 10
EDITED_KEYS = ("versions", "rollout")
"""What of a service is ever written; everything else is a person's."""

_INDENTS = ((2, 4, 2), (2, 2, 0), (4, 6, 4), (4, 4, 2), (4, 4, 0))
"""Of mappings, of sequences, and of their dashes: the usual ones."""


def stack_path(root: Path, stack: str) -> Path:
    """Returns the file of a stack: `Pulumi.<stack>.yaml` in Pulumi.yaml's `stackConfigDir`."""
    project = YAML(typ="safe").load(root / "Pulumi.yaml") or {}
    return root / project.get("stackConfigDir", ".") / f"Pulumi.{stack}.yaml"


def edit_service(path: Path, name: str, change: Callable[[CommentedMap, Stack], None]) -> Stack:
    """Reads, changes, checks and replaces a stack file, under a lock.

    Args:
        path: the stack file.
        name: a declared service.
        change: gets those of EDITED_KEYS that the service has, and the stack; it changes the first.

    Returns:
        the stack as it is declared now.

    Raises:
        StackFileError: the service is not declared, somebody else edits the file now, or the
            service is not laid out in lines that could be changed alone.
        ConfigError: the file, or what it would become, is not valid; nothing is written.
    """
    with _locked(path):
        before = path.read_bytes()
        text = before.decode()
        stack = parse_stack(text, str(path))
        if name not in stack.services:
            raise StackFileError(f"{path}: no service {name}")
        edited = _edited(text, name, lambda declared: change(declared, stack), path)
        result = parse_stack(edited, f"{path} (edited)")
        if edited != text:
            _replace(path, before, edited.encode())
        return result


def _edited(text: str, name: str, change: Callable[[CommentedMap], None], path: Path) -> str:
    """Returns the text with what changed, and not one other line."""
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines(keepends=True)
    service = YAML(typ="rt").load(text)["config"][f"{CONFIG_PREFIX}services"][name]
    if not isinstance(service, CommentedMap) or service.fa.flow_style():
        raise StackFileError(f"{path}: write the service {name} in lines of their own, not in {{}}")
    # Keys of its own, not those that it merges from an anchor.
    keys = {key: service.lc.key(key) for key in service.lc.data}
    column = keys[next(iter(keys))][1]
    blocks = {key: _Block.at(lines, keys[key][0], column) for key in EDITED_KEYS if key in keys}
    try:
        loaded = {key: block.load(lines) for key, block in blocks.items()}
    except YAMLError:
        raise StackFileError(
            f"{path}: versions and rollout of {name} can't be edited alone: is there an alias of "
            "something elsewhere, or another key on their lines?"
        ) from None
    declared = CommentedMap({key: document[key] for key, document in loaded.items()})
    was = {key: _plain(_dump(_yaml(), declared[key])) for key in declared}
    change(declared)
    now = {key: _plain(_dump(_yaml(), declared[key])) for key in declared}
    expected = _plain(text)
    wanted = expected["config"][f"{CONFIG_PREFIX}services"][name]
    for key in was.keys() - now.keys():
        del wanted[key]
    wanted.update(now)
    # From the last line up, so that line numbers above stay true.
    end = max(_Block.at(lines, line, column).end for line, _ in keys.values())
    added = CommentedMap({key: declared[key] for key in declared if key not in blocks})
    if added:
        lines[end:end] = _indented(_dump(_yaml(), added), column, newline)
    for key, block in sorted(blocks.items(), key=lambda it: -it[1].begin):
        if key not in now:
            del lines[block.begin : block.end]
        elif now[key] != was[key]:
            loaded[key][key] = declared[key]
            lines[block.begin : block.end] = block.changed_to(loaded[key], lines, newline)
    edited = "".join(lines)
    with suppress(YAMLError):
        if _plain(edited) == expected:
            return edited
    raise StackFileError(f"{path}: {name} is laid out so that it can't be edited by lines")


class _Block:
    """The lines of one key of a mapping, without the comments and empty lines behind them.

    Args:
        begin: first line, from 0.
        end: the line after the last one.
        column: of the key.
    """

    def __init__(self, begin: int, end: int, column: int) -> None:
        self.begin, self.end, self.column = begin, end, column

    @classmethod
    def at(cls, lines: Sequence[str], begin: int, column: int) -> _Block:
        """Finds the end of what begins at a line."""
        end = begin + 1
        for number in range(begin + 1, len(lines)):
            content = lines[number].strip()
            if not content or content.startswith("#"):
                continue
            indent = len(lines[number]) - len(lines[number].lstrip(" "))
            # The dashes of a sequence may stand right below its key.
            if indent < column or (indent == column and not content.startswith("- ")):
                break
            end = number + 1
        return cls(begin, end, column)

    def text(self, lines: Sequence[str]) -> str:
        """Returns the lines as a document of their own."""
        own = "".join(lines[self.begin : self.end]).replace("\r\n", "\n").rstrip("\n")
        return re.sub(rf"(?m)^ {{0,{self.column}}}", "", own) + "\n"

    def load(self, lines: Sequence[str]) -> CommentedMap:
        """Reads them; comments stay where they are."""
        return _yaml().load(self.text(lines))

    def changed_to(
        self, document: CommentedMap, lines: Sequence[str], newline: str
    ) -> Iterator[str]:
        """Yields the lines of a changed document; those that mean the same stay as they are."""
        text = self.text(lines)
        columns = _columns(text)

        def kept(yaml: YAML) -> int:
            return sum(map(operator.eq, _columns(_dump(yaml, yaml.load(text))), columns))

        yaml = max(map(_yaml, _INDENTS), key=kept)
        before = _indented(_dump(yaml, yaml.load(text)), self.column, newline)
        after = _indented(_dump(yaml, document), self.column, newline)
        aligned = len(before) == self.end - self.begin
        for kind, a, b, c, d in SequenceMatcher(None, before, after).get_opcodes():
            same = kind == "equal" and aligned
            yield from lines[self.begin + a : self.begin + b] if same else after[c:d]


def _columns(text: str) -> list[int]:
    """Returns where each line begins."""
    return [len(line) - len(line.lstrip(" ")) for line in text.splitlines()]


def _indented(text: str, column: int, newline: str) -> list[str]:
    indented = textwrap.indent(text, " " * column)
    return indented.replace("\n", newline).splitlines(keepends=True)


def _yaml(indents: tuple[int, int, int] = _INDENTS[0]) -> YAML:
    mapping, sequence, offset = indents
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=mapping, sequence=sequence, offset=offset)
    return yaml


def _dump(yaml: YAML, document: Any) -> str:
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def _plain(text: str) -> Any:
    return YAML(typ="safe").load(text)


def _replace(path: Path, before: bytes, content: bytes) -> None:
    for left_behind in path.parent.glob(f".{path.name}.*.tmp"):
        left_behind.unlink()  # of one who was killed: we hold the lock
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.chmod(path.stat().st_mode)
    if path.read_bytes() != before:
        temporary.unlink()
        raise StackFileError(f"{path}: somebody changed it meanwhile; nothing was written")
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _locked(path: Path) -> Generator[None]:
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        with lock.acquire(timeout=LOCK_TIMEOUT_SECONDS):
            yield
    except Timeout:
        raise StackFileError(f"{path}: another process is editing it") from None
