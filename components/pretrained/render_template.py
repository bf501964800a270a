"""Render a chat template in a separate process with limits on time and memory; run as a script by ``chat``.

Reads ``{"template", "conversations", "answered", "special_tokens"}`` as JSON, and writes ``{"texts", "answered"}``,
``{"refused"}`` (the template's own exception) or ``{"failed"}``. It imports neither Ratchet nor transformers, whose environment
of templates this is: the same sandbox, options, filter and functions, without the clock (``template_date``).
"""

import json
import math
import os
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

SECONDS = 2  # of processor time, after the imports; real templates take milliseconds
MEMORY = 512 * 2**20  # bytes beyond the imports; macOS does not enforce it
LONGEST = 2**20  # characters


class Generation(Extension):
    """``{% generation %}`` marks what an assistant writes, for masks in training; here it is its body alone."""

    tags = {"generation"}  # noqa: RUF012 - an attribute that Jinja declares so

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("body"), [], [], body).set_lineno(line)

    def body(self, caller: Callable[[], str]) -> str:
        return caller()


class Dict:
    """The template's ``dict``: callable, and not a type whose attributes lead elsewhere."""

    def __call__(self, *args: Any, **values: Any) -> dict[Any, Any]:
        return dict(*args, **values)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class PlainNamespace(Namespace):
    """The template's ``namespace``, without names that Python gives a meaning."""

    def __init__(*args: Any, **values: Any) -> None:  # no self, for ``namespace(self=...)``
        self, *given = args
        Namespace.__init__(self, _checked_names(dict(*given, **values)))

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(*next(iter(_checked_names({name: value}).items())))


def _checked_names(values: dict[Any, Any]) -> dict[Any, Any]:
    for name in values:
        if isinstance(name, str) and name.startswith("_"):
            raise SecurityError(f"a namespace cannot have an attribute {name!r}: it begins with an underscore")
    return values


def environment() -> ImmutableSandboxedEnvironment:
    """What a chat template may use, as transformers has it."""
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    made.filters["tojson"] = tojson  # Jinja's own escapes HTML
    made.globals.update(raise_exception=raise_exception, dict=Dict(), namespace=PlainNamespace)
    return made


def tojson(value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def main() -> None:
    task = json.load(sys.stdin)
    limit()
    json.dump(render(task), sys.stdout)


def limit() -> None:
    used = math.ceil(sum(os.times()[:2]))
    resource.setrlimit(resource.RLIMIT_CPU, (used + SECONDS, used + SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):  # macOS
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def render(task: dict[str, Any]) -> dict[str, Any]:
    """The result of a task; anything that a template raises is reported."""
    try:
        template = environment().from_string(task["template"])
        texts = [written(template, messages, True, task) for messages in task["conversations"]]
        "".join(texts).encode()  # half a surrogate pair is not text
    except MemoryError:
        return {"failed": f"it takes more than {MEMORY // 2**20} MiB of memory"}
    except Exception as error:  # foreign code
        if type(error) is TemplateError:  # of the template's own raise_exception; syntax errors and the like are subclasses
            return {"refused": f"{error}"[:500]}
        if "no loader for this environment" in str(error):
            return {"failed": "it asks for another template (include, import or extends), and there are no others"}
        return {"failed": f"{type(error).__name__}: {error}"[:500]}
    if max(map(len, texts)) > LONGEST:
        return {"failed": f"it writes more than {LONGEST} characters"}
    return {"texts": texts, "answered": answered(template, task)}


def written(template: Template, messages: list[dict[str, str]], prompting: bool, task: dict[str, Any]) -> str:
    """A conversation in the template; ``prompting`` if the assistant's turn is next."""
    none = {"tools": None, "documents": None}
    return template.render(messages=messages, add_generation_prompt=prompting, **none, **task["special_tokens"])


def answered(template: Template, task: dict[str, Any]) -> str | None:
    """The conversation that ends with an assistant's turn; None if the template rejects it."""
    try:
        text = written(template, task["answered"], False, task)
        text.encode()
    except Exception:  # foreign code; a template may take nothing but prompts
        return None
    return text if len(text) <= LONGEST else None


if __name__ == "__main__":
    main()
