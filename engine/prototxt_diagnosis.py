"""Turns what protobuf's text parser reports into what is wrong in a prototxt, and what to do about it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from google.protobuf.descriptor import Descriptor

from farlayer.engine.registry import known_types
from farlayer.protos import caffe_pb2

#: Strings and comments are tokens of their own, so that braces in them do not count.
_TOKENS = re.compile(
    r"""(?P<string>"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?)|(?P<comment>\#[^\n]*)|(?P<brace>[{}<>])"""
)
_OPENING, _CLOSING = "{<", "}>"
_LONGEST_FIELD_LIST = 40
_FILES = {"NetParameter": "a net", "SolverParameter": "a solver"}
_PACKAGE = caffe_pb2.DESCRIPTOR.package + "."
#: protobuf puts the place, and sometimes the whole line, before its message.
_PREFIX = re.compile(r"^\d+:\d+ : (?:'.*?': (?=[A-Z]))?", re.DOTALL)


class Place(NamedTuple):
    """A 1-based line and column."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


class Diagnosis(NamedTuple):
    """What is wrong, and what the user can do about it (empty where nothing better is known)."""

    problem: str
    remedy: str


def diagnose(report: str, text: str, place: Place, root: str) -> Diagnosis:
    """Explains a report of protobuf's text parser.

    Args:
        report: the parser's message.
        text: the text that it parsed.
        place: where in the text it stopped.
        root: name of the type of the message that it filled.
    """
    problem = _PREFIX.sub("", report).replace(_PACKAGE, "").rstrip(".")
    problem = re.sub(r'Message type "(\w+)" has no field named "(\w+)"', r"\1 has no field \2", problem)
    for pattern, explain in _EXPLANATIONS:
        match = re.search(pattern, problem)
        if match:
            return explain(problem, match, text, place, root)
    return Diagnosis(problem, "")


def comment_spans(text: str) -> list[tuple[int, int]]:
    """Beginning and end of each comment, as offsets in the text."""
    return [match.span() for match in _TOKENS.finditer(text) if match.lastgroup == "comment"]


def place_of(text: str, offset: int) -> Place:
    """The place of an offset in the text."""
    return Place(text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))


def _offset_of(text: str, place: Place) -> int:
    return sum(len(line) + 1 for line in text.split("\n")[: place.line - 1]) + place.column - 1


def _open_braces(text: str, before: Place) -> list[Place]:
    """Braces that are open before a place, the outermost first."""
    opened: list[Place] = []
    for match in _TOKENS.finditer(text):
        brace = match["brace"]
        if not brace:
            continue
        place = place_of(text, match.start())
        if place >= before:
            break
        if brace in _OPENING:
            opened.append(place)
        elif opened:
            opened.pop()
    return opened


def _own_text(text: str, opening: Place) -> str:
    """What a message says itself: its text from its brace on, without comments and messages inside it."""
    pieces, depth, start = [], 0, _offset_of(text, opening)
    for match in _TOKENS.finditer(text, start):
        if match.lastgroup == "string":
            continue
        if depth == 1:
            pieces.append(text[start : match.start()])
        if match["brace"]:
            depth += 1 if match["brace"] in _OPENING else -1
        start = match.end()
        if depth == 0:
            break
    return " ".join(pieces)


def _foreign_type(text: str, place: Place) -> str:
    """The type of the layer around a place where that is a type that nobody supplies; empty otherwise."""
    opened = _open_braces(text, place)
    given = re.search(r"""\btype\s*:\s*["']([^"']+)["']""", _own_text(text, opened[-1])) if opened else None
    return given[1] if given and given[1] not in known_types() else ""


def _unknown_field(problem: str, match: re.Match[str], text: str, place: Place, root: str) -> Diagnosis:
    message, name = _message_types()[match[1]], match[2]
    foreign = _foreign_type(text, place) if message.name == "LayerParameter" and name.endswith("_param") else ""
    if foreign:
        return Diagnosis(
            problem,
            f"the layer's type, '{foreign}', is unknown too; it may be that of another version of Caffe. Leave {name} "
            'out and supply the layer as a Python layer: type: "Python" with python_param { module layer param_str }',
        )
    for other, file in _FILES.items():
        if message.name == root and name in _message_types()[other].fields_by_name:
            return Diagnosis(problem, f"{name} is a field of {other}: is this the file of {file}?")
    close = difflib.get_close_matches(name, message.fields_by_name, n=3, cutoff=0.6)
    if close:
        return Diagnosis(problem, f"did you mean {_alternatives(close)}?")
    if name in _message_types()[root].fields_by_name:
        opened = _open_braces(text, place)
        where = f" The brace at {opened[-1]} is still open here." if opened else ""
        return Diagnosis(problem, f"{name} is a field of {root}: is a }} missing before it?{where}")
    inner = _fields_inside(message)
    close = difflib.get_close_matches(name, inner, n=1, cutoff=0.8)
    if close:
        holders = inner[close[0]]
        remedy = f"{close[0]} is a field inside {_alternatives(holders)}: {holders[0]} {{ {close[0]}: ... }}"
        return Diagnosis(problem, remedy)
    return Diagnosis(problem, f"fields of {message.name}: {_field_list(message)}")


def _fields_inside(message: Descriptor) -> dict[str, list[str]]:
    """Fields of the messages that are fields of a message, and the names of those."""
    inner: dict[str, list[str]] = {}
    for holder in message.fields:
        for name in holder.message_type.fields_by_name if holder.message_type else ():
            inner.setdefault(name, []).append(holder.name)
    return inner


def _field_list(message: Descriptor) -> str:
    names = sorted(message.fields_by_name)
    if len(names) > _LONGEST_FIELD_LIST:
        plain = [name for name in names if not name.endswith("_param")]
        return f"{', '.join(plain)}, and {len(names) - len(plain)} that end in _param"
    return ", ".join(names)


def _bad_enum(problem: str, match: re.Match[str], _text: str, _place: Place, _root: str) -> Diagnosis:
    for message in _message_types().values():
        for field in message.fields:
            if field.enum_type is not None and field.enum_type.full_name.removeprefix(_PACKAGE) == match[1]:
                names = [value.name for value in field.enum_type.values]
                close = difflib.get_close_matches(match[2].upper(), names, n=1, cutoff=0.6)
                first = f"did you mean {close[0]}? " if close else ""
                return Diagnosis(problem, f"{first}Values of {match[1]}: {', '.join(names)}")
    return Diagnosis(problem, "")


def _missing_quotes(problem: str, match: re.Match[str], text: str, place: Place, _root: str) -> Diagnosis:
    line = text.split("\n")[place.line - 1]
    if re.search(r"\btype\s*:\s*$", line[: place.column - 1]) and match[1].isupper():
        return Diagnosis(
            problem,
            'types of layer { ... } are names in quotes, type: "Convolution"; types without quotes, type: CONVOLUTION, '
            "belong to the format of 2014, layers { ... }",
        )
    return Diagnosis(problem, f'put it in quotes: "{match[1]}"' if match[1] not in ("}", "{") else "a value is missing")


def _missing_opening(problem: str, _match: re.Match[str], text: str, place: Place, _root: str) -> Diagnosis:
    words = re.findall(r"\w+", "\n".join([*text.split("\n")[: place.line - 1], _line_before(text, place)]))
    name = words[-1] if words else "it"
    return Diagnosis(problem, f"{name} holds fields of its own: {name} {{ ... }}")


def _missing_closing(problem: str, _match: re.Match[str], text: str, _place: Place, _root: str) -> Diagnosis:
    opened = _open_braces(text, Place(text.count("\n") + 2, 0))
    if not opened:
        return Diagnosis(problem, "")
    return Diagnosis(problem, f"the brace at {opened[-1]} is never closed")


def _stray_closing(problem: str, _match: re.Match[str], text: str, place: Place, _root: str) -> Diagnosis:
    if _open_braces(text, place):
        return Diagnosis(problem, "")
    return Diagnosis(problem, "this } closes nothing: remove it, or look for one too many before it")


def _twice(problem: str, match: re.Match[str], _text: str, _place: Place, _root: str) -> Diagnosis:
    return Diagnosis(problem, f"remove one of the two {match[1]}, or look for a missing }} between them")


def _advice(remedy: str) -> Explanation:
    """An explanation that is the same wherever it occurs."""
    return lambda problem, _match, _text, _place, _root: Diagnosis(problem, remedy)


def _line_before(text: str, place: Place) -> str:
    return text.split("\n")[place.line - 1][: place.column - 1]


@cache
def _message_types() -> dict[str, Descriptor]:
    """All message types by name, those inside others as "Outer.Inner"."""
    found: dict[str, Descriptor] = {}
    waiting: list[Descriptor] = list(caffe_pb2.DESCRIPTOR.message_types_by_name.values())
    while waiting:
        message = waiting.pop()
        found[message.full_name.removeprefix(_PACKAGE)] = message
        waiting.extend(message.nested_types)
    return found


def _alternatives(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


Explanation = Callable[[str, "re.Match[str]", str, Place, str], Diagnosis]

#: Pattern of a report, and who explains it.
_EXPLANATIONS: tuple[tuple[str, Explanation], ...] = (
    (r"^([\w.]+) has no field (\w+)", _unknown_field),
    (r'Enum type "([\w.]+)" has no value (?:named|with number) (\w+)', _bad_enum),
    (r"Expected string but found: '([^']*)'", _missing_quotes),
    (r'Expected "\{"', _missing_opening),
    (r'Expected "[}>]"', _missing_closing),
    (r"Expected identifier or number, got [}>]", _stray_closing),
    (r'should not have multiple "(\w+)" fields', _twice),
    (r"String missing ending quote", _advice("close the quote in the line where it opens")),
    (r'Expected "true" or "false"', _advice("write true or false")),
    (r'Expected ":"', _advice("write a colon between a field and its value")),
    (r"Couldn't parse integer", _advice("write an integer, without quotes or a point")),
    (r"Couldn't parse float", _advice("write a number, without quotes")),
    (r"Value out of range", _advice("the field holds 32 bits, and no negative number where it counts something")),
)
