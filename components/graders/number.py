r"""Numbers, and the grader of final numbers: does the last number of a completion equal the reference?

First half: numbers as people and models write them, read exactly and as a whole, never in part.
Read are a sign (U+2212 too), a currency sign, thousands in groups of three (``1,000``, ``1 000``, ``1'000``), decimals, a per
cent sign (``25%`` is 25), fractions (``3/4``, ``2 1/2``, ``\frac{3}{4}``), scientific notation and powers (``1e3``,
``10^{3}``), in the digits of any script. What is more than one number, or something else, is not read: ``1,2``, ``10-12``,
``10:30``, ``5x``, ``2\sqrt{3}``.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from decimal import Decimal, Inexact, localcontext
from fractions import Fraction
from functools import lru_cache
from typing import Any

from ratchet.components.graders.protocol import Grade
from ratchet.components.graders.rule import Rule

MAX_DIGITS = 1_000  # of a number with its powers written out; exact arithmetic on more would take too long

_CURRENCY = r"[$\u00a2-\u00a5\u20a0-\u20cf]"
_WHOLE = r"(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?:'\d{3})+|\d{1,3}(?: \d{3})+|\d+)(?!\d)"
_DECIMAL = rf"(?:{_WHOLE}(?:\.\d+)?|\.\d+)"
_EXPONENT = r"\^ ?(?:\{ ?)?(?P<%s>[-+]?\d+)(?: ?\})?"
NUMBER = (
    rf"(?P<sign>[-+]?)(?:{_CURRENCY} ?(?P<inner>[-+]?))?"
    r"(?:(?P<units>\d+) (?P<over>[1-9]\d*) ?/ ?(?P<under>\d+)(?!\d)"
    rf"|(?P<top>{_DECIMAL}) ?/ ?(?P<bottom>[-+]?{_DECIMAL})"
    rf"|(?P<base>{_DECIMAL})(?:[eE](?P<e>[-+]?\d+)| ?[x*\u00d7\u00b7] ?10{_EXPONENT % 'ten'}|{_EXPONENT % 'power'})?)"
    rf"(?: ?%| ?{_CURRENCY})?"
)
_READ = re.compile(NUMBER)
_OPERATORS = r"-+*/^=<>:\u00d7\u00b7\u00f7\u00b1\u2010-\u2015"
# What follows a number so that what was read is a part: 5x, 101_2, 10-12, 10:30, 2\sqrt{3}, "5, 6", "5 feet 6 inches".
_CONTINUES = re.compile(
    rf"[^\W_]|_\{{?\w|[.,']\d| ?[{_OPERATORS}] ?[\d.($\\]| x \d| ?\^| ?/(?![a-z]{{2}})|\s*\\[a-z]|\s*[\u221a\u03c0]"
    rf"|\s*(?:\.\.|\u2026)|\s*(?:[,;&]\s*)?(?:(?:and|or|to) )?[-+]?(?:{_CURRENCY} ?)?\.?\d"
    r"| (?:squared|cubed)\b| and (?:a |an |one )?(?:half|third|quarter)\b"
    r"| (?!(?:out|of|for|from|in|on|at|by|as|per|with|after|when|if|since|because|not)\b)[a-z]+,? (?:and )?\d+ ?[a-z]",
    re.IGNORECASE,
)
_SCALE = re.compile(r"\s*(hundred|thousand|million|billion|trillion)\b", re.IGNORECASE)
_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_NAME = re.compile(r"(?:(?:[A-Za-z]\w{0,15} ?)?[=:] ?)?")  # of x = 5
_SOMEWHERE = re.compile(
    rf"(?<![\w.,'^/\\])(?<!\w[-+*^\u00d7\u00b7\u00f7\u2010-\u2015])(?<!\d:)(?<!\w [-+*/\u00d7\u00f7] ){NUMBER}"
)
_AROUND = " \t\n*_`$"  # white space, markdown, and LaTeX's sign for mathematics

_SAME = {
    **dict.fromkeys(map(ord, "\u2212\ufe63"), "-"),
    **{ord("\u2019"): "'", ord("\u066b"): ".", ord("\u066c"): ",", ord("\u066a"): "%", ord("\u2044"): "/"},
}
_LATEX = [
    (re.compile(r"(?<=\d) ?\\[dtc]?frac(?: ?\{([^{}]*)\} ?\{([^{}]*)\}| ?(\d) ?(\d))"), r" \1\3/\2\4"),
    (re.compile(r"\\[dtc]?frac(?: ?\{([^{}]*)\} ?\{([^{}]*)\}| ?(\d) ?(\d))"), r"\1\3/\2\4"),
    (re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|boldsymbol) ?\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\!|\\(?:left|right)(?![a-z])|\\[()\[\]]"), ""),
    (re.compile(r"\\[,;: ]|\\q?quad(?![a-z])|~"), " "),
    (re.compile(r"\\([$%])"), r"\1"),
    (re.compile(r"\\(?:times|cdot)(?![a-z])"), "\u00d7"),
    (re.compile(r"\^ ?(?:\{ ?)?\\circ(?: ?\})?|\u00b0"), " degrees"),
]
_VULGAR = re.compile(r"(\d?)([\u00bc-\u00be\u2150-\u215e])")
_RAISED = re.compile(r"[\u207a\u207b]?[\u00b2\u00b3\u00b9\u2070\u2074-\u2079]+")


def parse_number(text: str) -> Fraction | None:
    """The number that a text consists of, ignoring surrounding white space, markdown and a full stop; else None."""
    text = _plain(text).strip(_AROUND)
    found = _READ.match(text)
    return _value(found) if found and text[found.end() :].strip(_AROUND) in ("", ".") else None


def parse_leading(text: str) -> Fraction | None:
    """The number that a text begins with or assigns (``x = 5``): a unit may follow, a scale word multiplies.

    None if something else follows, because the number would be only a part.
    """
    text = _plain(text).replace("**", "").lstrip(_AROUND)
    name = _NAME.match(text)
    found = _READ.match(text, name.end() if name else 0)
    if found is None:
        return None
    scale = _SCALE.match(text, found.end())
    value = _value(found)
    if value is None or _CONTINUES.match(text, (scale or found).end()):
        return None
    return value * _SCALES[scale[1].lower()] if scale else value


def parse_last(text: str) -> Fraction | None:
    """The last number of a text; None if the text's last digits are part of something that is not a number."""
    text = _plain(text)
    starts = [(found.start(), found.end()) for found in _SOMEWHERE.finditer(text)]
    if not starts or re.search(r"\d", text[starts[-1][1] :]):
        return None
    return parse_leading(text[starts[-1][0] :])


def format_number(number: Fraction) -> str:
    """The shortest exact form of a number: a terminating decimal, else a fraction."""
    with localcontext() as context:
        context.prec, context.traps[Inexact] = 10 * MAX_DIGITS, True
        try:
            return f"{Decimal(number.numerator) / Decimal(number.denominator):f}"
        except Inexact:
            return str(number)


def _plain(text: str) -> str:
    """A text with its digits, signs, spaces and LaTeX in canonical form."""
    if not text.isascii():
        text = _RAISED.sub(lambda found: f"^{{{unicodedata.normalize('NFKC', found[0])}}}", text)
        text = _VULGAR.sub(lambda found: f"{found[1]} "[: 2 * len(found[1])] + unicodedata.normalize("NFKC", found[2]), text)
        text = re.sub(r"[^\x00-\x7f]", lambda found: _character(found[0]), text.translate(_SAME)).translate(_SAME)
    for pattern, form in _LATEX:
        text = pattern.sub(form, text)
    return text


def _character(character: str) -> str:
    """A character in its ASCII form, if it is a digit, a space or full-width; empty if it is invisible."""
    kind = unicodedata.category(character)
    if kind == "Nd":
        return str(unicodedata.decimal(character))
    if "\uff01" <= character <= "\uff5e":
        return chr(ord(character) - 0xFEE0)
    return "" if kind == "Cf" else " " if kind == "Zs" else character


def _value(found: re.Match[str]) -> Fraction | None:
    """The value of a number, None of one beyond MAX_DIGITS, and of a division by zero."""
    parts = found.groupdict()
    exponent = parts["e"] or parts["ten"]
    size = abs(int(exponent)) if exponent and len(exponent) < 6 else MAX_DIGITS * bool(exponent)
    raised = int(parts["power"]) if parts["power"] and len(parts["power"]) < 6 else MAX_DIGITS * bool(parts["power"])
    if len(found[0]) * max(1, abs(raised)) + size >= MAX_DIGITS:
        return None
    try:
        value = _magnitude(parts, raised) * Fraction(10) ** int(exponent or 0)
    except ZeroDivisionError:
        return None
    return -value if "-" in (parts["sign"], parts["inner"]) else value


def _magnitude(parts: dict[str, str | None], power: int) -> Fraction:
    """The value without its sign and its power of ten."""
    if parts["under"]:
        return _decimal(parts["units"]) + Fraction(_decimal(parts["over"]), _decimal(parts["under"]))
    if parts["bottom"]:
        return _decimal(parts["top"]) / _decimal(parts["bottom"])
    return _decimal(parts["base"]) ** (power if parts["power"] else 1)


def _decimal(digits: str | None) -> Fraction:
    return Fraction(re.sub(r"[,' ]", "", digits or ""))


# A line ends at any line break, and at leftover tokens of a chat template.
_END = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]|<\|[^|<>\s]{1,40}\|>|</?s>|<(?:eos|pad|end_of_turn)>")
_HASHES = r"(?<!#)####(?!#)"
_STRICT = re.compile(_HASHES)
_MARKER = re.compile(
    rf"(?P<line>{_HASHES}|\bA:|\banswer\s+is\b:?)|(?P<box>\\(?:boxed|fbox)(?![a-z])\s*\{{?)|(?P<tag><answer>)", re.IGNORECASE
)


def final_number(text: str, strict: bool = True, last_number: bool = True) -> Fraction | None:
    r"""The final answer of a text: the number after its last marker, or None if that is not a single number.

    Args:
        strict: only ``#### N`` alone on its line counts; otherwise also ``A: N``, ``\boxed{N}``, ``<answer>N</answer>`` and
            "the answer is N", with a unit after it.
        last_number: whether the last number counts if there is no marker; without effect if strict.
    """
    markers = list((_STRICT if strict else _MARKER).finditer(text))
    if not markers:
        return parse_last(text) if last_number and not strict else None
    return parse_number(_line(text[markers[-1].end() :])) if strict else parse_leading(_marked(text, markers[-1]))


def reference_number(answer: str) -> Fraction | None:
    """The number of a reference answer: after its last marker, or the whole text; None unless it is a single number."""
    markers = list(_MARKER.finditer(answer))
    return parse_number(_marked(answer, markers[-1]) if markers else answer)


def _marked(text: str, marker: re.Match[str]) -> str:
    """The text of a marker: the content of a box or a tag, else the rest of the line, or the next non-blank line."""
    rest = text[marker.end() :]
    if marker["tag"]:
        return re.split("</answer>", rest, maxsplit=1, flags=re.IGNORECASE)[0].strip()
    if marker["box"] and marker[0].endswith("{"):
        return _in_braces(rest)
    return _line(rest.lstrip())


def _line(text: str) -> str:
    return _END.split(text, maxsplit=1)[0]


def _in_braces(text: str) -> str:
    """The text up to the closing brace; empty if there is none."""
    depth = 1
    for brace in re.finditer(r"(?<!\\)[{}]", text):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return text[: brace.start()].strip()
    return ""


def grade_numbers(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
    """The grades of the strict form, as a reward function."""
    return [grade_number(completion, row.get("answer")) for completion, row in zip(completions, rows, strict=True)]


def grade_number(completion: str, answer: object, strict: bool = True, last_number: bool = True) -> Grade:
    """1 for the reference's final number, 0 for another or none; None if the reference is not a single number.

    The strict form has the parts ``accuracy_lenient`` (right by the last number, however it is marked) and ``format_rate``
    (there is a number in the strict form).
    """
    expected = None if answer is None else _reference(str(answer))
    if expected is None:
        return Grade(None)
    found = final_number(completion, strict, last_number)
    parts: dict[str, float] = {}
    if strict:
        parts = {"accuracy_lenient": float(final_number(completion, strict=False) == expected)}
        parts["format_rate"] = float(found is not None)
    right, shown = found == expected, None if found is None else format_number(found)
    return Grade(float(right), parts, right, answer=shown)


def rule(strict: bool, last_number: bool) -> Rule:
    """As :func:`grade_number`, with the row's reference."""
    return lambda completion, row: grade_number(completion, row.get("answer"), strict, last_number)


_reference = lru_cache(maxsize=4096)(reference_number)  # one reference, many samples
