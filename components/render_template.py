"""Render a chat template in a separate process with limits on time and memory; run as a script by ``chat``.

Reads ``{"template", "conversations", "answered", "special_tokens"}`` as JSON, and writes ``{"texts", "answered"}``,
``{"refused"}`` (the template's own exception) or ``{"failed"}``. It imports neither Ratchet nor torch.
"""

import json
import math
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

SECONDS = 2  # of processor time, after the imports; real templates take milliseconds
MEMORY = 512 * 2**20  # bytes beyond the imports; macOS does not enforce it
LONGEST = 2**20  # characters


def main() -> None:
    sys.modules["torch"] = None  # type: ignore[assignment]  # seconds, for nothing that a template needs
    from transformers.utils.chat_template_utils import render_jinja_template

    task = json.load(sys.stdin)
    limit()
    json.dump(render(render_jinja_template, task), sys.stdout)


def limit() -> None:
    used = math.ceil(sum(os.times()[:2]))
    resource.setrlimit(resource.RLIMIT_CPU, (used + SECONDS, used + SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):  # macOS
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def render(renderer: Any, task: dict[str, Any]) -> dict[str, Any]:
    """The result of a task; anything that a template raises is reported."""
    from jinja2 import TemplateError

    special = task["special_tokens"]
    try:
        texts, _ = renderer(task["conversations"], chat_template=task["template"], add_generation_prompt=True, **special)
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
    return {"texts": texts, "answered": answered(renderer, task)}


def answered(renderer: Any, task: dict[str, Any]) -> str | None:
    """The conversation that ends with an assistant's turn; None if the template rejects it."""
    try:
        (text,), _ = renderer([task["answered"]], chat_template=task["template"], **task["special_tokens"])
        text.encode()
    except Exception:  # foreign code; a template may take nothing but prompts
        return None
    return text if len(text) <= LONGEST else None


if __name__ == "__main__":
    main()
