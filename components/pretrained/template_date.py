"""Give a chat template that calls ``strftime_now`` a date of its own, so that no prompt depends on the clock.

The template is put behind a macro of that name, which hides the function of transformers. The macro is part of the template:
it is saved with the tokenizer, and whatever renders that (MLflow, vLLM, an evaluation library) shows the same date.
"""

import json
from datetime import datetime
from typing import Any

FIXED = "2025-01-01"  # where nothing else is known: a model that no run has dated
NAME = "strftime_now"
START = "{#- The date of this template is "
END = "{#- end of the date #}\n"  # trim_blocks takes the line's end, as it would after a block
PERCENT = "\ue002"  # a private-use character in place of %% while directives are replaced
DIRECTIVES = "aAwdbBmyYHIpMSfjUWcxXGuVCeDFhnRrTt"
UNPADDED = "dmeHIMSjy"  # %-d and the like, an extension that templates use


def dated(template: str, date: str) -> str:
    """The template with ``strftime_now`` showing a date, at midnight; any other template as it is.

    Args:
        template: a date that it was given before is replaced.
        date: in ISO format.
    """
    undated = template.partition(END)[2] if is_dated(template) else template
    return _macro(date) + undated if NAME in undated else template


def is_dated(template: str) -> bool:
    """Whether :func:`dated` gave this template its date."""
    return template.startswith(START) and END in template


def date_tokenizer(tokenizer: Any, date: str) -> None:
    """Give every chat template of a tokenizer its date."""
    templates = tokenizer.chat_template
    if isinstance(templates, dict):
        tokenizer.chat_template = {name: dated(template, date) for name, template in templates.items()}
    elif templates:
        tokenizer.chat_template = dated(templates, date)


def _macro(date: str) -> str:
    day = datetime.fromisoformat(date)
    wanted = [*(f"%-{one}" for one in UNPADDED), *(f"%{one}" for one in DIRECTIVES)]
    pairs = json.dumps([["%%", PERCENT], *([one, day.strftime(one)] for one in wanted), [PERCENT, "%"]])
    return (
        f"{START}{date} -#}}\n"
        f"{{%- macro {NAME}(format) -%}}\n"
        "{%- set shown = namespace(text=format) -%}\n"
        f"{{%- for directive, value in {pairs} -%}}\n"
        "{%- set shown.text = shown.text.replace(directive, value) -%}\n"
        "{%- endfor -%}\n"
        "{{- shown.text -}}\n"
        f"{{%- endmacro -%}}\n{END}"
    )
