"""What a credential looks like in a text: by its place, its name, its form, or because the environment has it.

The patterns are for display, and prefer to hide too much. Each takes time linear in the text: what repeats is bounded, or ends
where the next attempt could begin.
"""

import base64
import json
import os
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

SHORTEST = 6  # characters of a value of the environment that is looked for; shorter ones are words
SHORT = 12  # up to here a value counts only where no letter or digit continues it


class Rule(NamedTuple):
    """What replaces the matches of a pattern. Each match has one of the needles (in lower case), which are found faster."""

    needles: tuple[str, ...]
    pattern: str  # compiled, and cached by re, when first used: that takes longer than a command's start
    replacement: str


def _rule(needles: str, pattern: str, replacement: str) -> Rule:
    return Rule(tuple(needles.split()), f"(?i){pattern}", replacement)


_ESCAPES = r"\\{0,7}"  # of JSON within JSON
_PLAIN = r"""[^\s&"'\\,;)}\]]{1,4096}"""
_QUOTED = rf"""(?P<quote>{_ESCAPES}["'])(?:(?!(?P=quote))[^\n]){{0,4096}}(?P=quote)?"""
_REFERENCE = (  # no secret: a variable, its name, a placeholder, a number, a type, or what is hidden already
    rf"(?!{_ESCAPES}[\"']?(?:\$\{{|\$[a-z_]|\*\*\*|env:|<|(?:null|none|true|false|str|int|float|bool|bytes|SecretStr)\b"
    r"|\d{1,64}(?:\.\d{1,64})?(?![\w.+/=-])"
    r"|(?-i:[A-Z][A-Z0-9]{0,64}_[A-Z0-9_]{1,64}(?![\w+/=-]))))"
)
_VALUE = rf"{_REFERENCE}(?:{_QUOTED}|{_PLAIN})"
_IS = r"(?:\s{0,8}[:=]\s{0,8}|%(?:25){0,3}3[ad])"
_PROSE = (  # "password: it is required", if another word follows; a passphrase may begin so
    r"(?!(?<!phrase):\s{1,8}(?:an?|and|are|as|at|by|can|cannot|for|from|has|if|in|is|it|its|may|must|no|not|of|on|or|see|should|than|that|the|this"
    r"|to|was|were|which|will|with)\s{1,4}(?-i:[a-z]{2,}))"
)
_HIDDEN = r"\1\g<quote>***\g<quote>"
_PERCENT = r"%(?:25){0,3}"  # encoded up to three times more
_NAMED = (  # the ends of names; "eos_token", "per_token" and "max_new_tokens" are none
    r"(?:secret|passwd|password|passwrd|passphrase|credentials?|auth_?string|SharedAccessSignature"
    r"|(?:api|access|private|account|signing|secret|hook)[_-]?key|(?-i:[A-Z0-9]_TOKEN)|(?<![\w-])(?:pwd|pass)(?==)"
    r"|(?:access|admin|api|app|auth|bearer|bot|deploy|github|gitlab|hf|hub|id|judge|mlflow|oauth|personal|prefect|refresh|sas"
    r"|service|session|slack|tracking|user|vault|webhook|worker)[_-]?token)"
)
_APPRISE = (  # services whose addresses have their credentials in the path: https://github.com/caronc/apprise/wiki
    r"bark|dingtalk|discord|feishu|flock|glip|gchat|gotifys?|guilded|ifttt|lametric|lark|mailgun|mailtos?|matrixs?"
    r"|mmosts?|msteams|ntfys?|opsgenie|pagerduty|parsep|pbul|pover|prowl|pushed|pushover|pushy|rockets?|ryver|sendgrid"
    r"|ses|slack|sns|splunk|spontit|strmlabs|techulus|tgram|twilio|twist|vonage|webex|wecombot|workflows?|wxteams|zulip"
)
_WEBHOOKS = (
    r"hooks\.slack\.com/(?:services|workflows|triggers)/|discord(?:app)?\.com/api/(?:v\d{1,3}/)?webhooks/"
    r"|outlook\.office\.com/webhook/|\.webhook\.office\.com/\w{1,64}/|chat\.googleapis\.com/v1/spaces/|api\.telegram\.org/bot"
)
_KEYS = (
    r"sk-[\w-]{16,}|whsec_[\w+/=-]{12,}|[srp]k_(?:live|test)_\w{16,}|hf_\w{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}"
    r"|gl(?:pat|ptt|rt)-[\w-]{16,}"
    r"|pn[ub]_\w{20,}|npm_\w{30,}|pypi-[\w-]{16,}|dapi[0-9a-f]{32}|hv[sb]\.[\w-]{20,}|SG\.[\w-]{16,}\.[\w-]{16,}"
    r"|A(?:KI|SI)A[0-9A-Z]{16}|AIza[\w-]{30,}|ya29\.[\w-]{20,}|xox[a-z]-[\w-]{10,}|xapp-[\w-]{10,}|\d{8,12}:AA[\w-]{30,}"
    r"|eyJ[\w-]{8,}\.eyJ[\w-]{8,}(?:\.[\w-]*)?"
)
_PREFIXES = (
    "sk- whsec_ sk_ pk_ rk_ hf_ gho_ ghp_ ghr_ ghs_ ghu_ github_pat_ glpat- glptt- glrt- pnu_ pnb_ npm_ pypi- dapi hvs. hvb. "
    "sg. akia asia aiza ya29. xox xapp- :aa eyj"
)
_LABELS = r"mailto|from|to|cc|bcc|sender|reply-to|e-?mail|mail|author|contact|address|by|see|ssh|git|sha256|sha512|md5"

CERTAIN = (  # by place or form: a credential whatever stands around it
    _rule(
        "-----begin",
        r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?:(?!-----)[\s\S]){0,65536}(?:-----END [A-Z ]{0,40}PRIVATE KEY-----)?",
        "***",
    ),
    _rule(  # of a database: a password that is not percent-encoded may have any character, and what seems a host is part of it
        "://", r"((?:postgres|mysql|mariadb|mssql|oracle|mongodb|redis|amqp)[\w+.-]{0,32}://)[^\s\"'<>\\]{1,4096}@", r"\1***@"
    ),
    _rule(
        "@", rf"(?<![\w)\]])({_ESCAPES}/{_ESCAPES}/)[^\s/\"'<>\\]{{1,4096}}@", r"\1***@"
    ),  # the user of a URI; the last @ ends it
    _rule("@", r"(//)[^\s:/@\"'<>]{1,256}:(?!\d{1,5}(?:[/?#]|$))[^\s@\"'<>]{1,256}@", r"\1***@"),  # a password with a slash
    _rule("2f%", rf"((?:{_PERCENT}2f){{2}})(?:(?!{_PERCENT}(?:2f|40))[^\s&\"'<>/]){{1,1024}}({_PERCENT}40)", r"\1***\2"),
    _rule("hooks. webhook .googleapis. .telegram.", rf"((?:{_WEBHOOKS}))[^\s\"'<>\\]+", r"\1***"),
    _rule("://", rf"(?<![a-z0-9])((?:{_APPRISE})://)[^\s\"'<>\\]+", r"\1***"),
    Rule(tuple(_PREFIXES.split()), rf"(?<![\w-])(?:{_KEYS})", "***"),
)
LIKELY = (  # by the name before them
    _rule(
        "authorization",
        rf"(authorization{_ESCAPES}[\"']?{_IS})(?:{_QUOTED}|(?:(?:basic|bearer|digest|token)\s{{1,8}})?{_PLAIN})",
        _HIDDEN,
    ),
    _rule("bearer", r"\b(bearer\s{1,8})(?=[a-z.~+/=_-]{0,64}\d)[\w.~+/=-]{8,4096}", r"\1***"),
    _rule(
        "secret passw passphrase credential auth_string authstring sharedaccess key token pwd= pass=",
        rf"({_NAMED}{_ESCAPES}[\"']?{_PROSE}{_IS}){_VALUE}",
        _HIDDEN,
    ),
    _rule(  # a key of YAML or JSON; elsewhere "pass:" is a word
        "pass pwd",
        rf"((?:\A|[\n{{,]|-\s)[ \t]{{0,64}}{_ESCAPES}[\"']?(?:pass|pwd){_ESCAPES}[\"']?:\s{{1,8}}){_VALUE}",
        _HIDDEN,
    ),
    _rule(
        "= 3d",
        rf"((?:[?&;]|{_PERCENT}(?:3f|26))(?:key|sig|signature|token|auth|pwd|pass|pat|sas|x-amz-[\w-]{{1,64}})"
        rf"(?:=|{_PERCENT}3d)){_VALUE}",
        _HIDDEN,
    ),
    _rule("token", rf"((?<![\w-])token=|(?:(?<=\")|(?<='))token{_ESCAPES}[\"']\s{{0,8}}:\s{{0,8}}){_VALUE}", _HIDDEN),
    _rule(
        "password passwd secret token api-key",
        rf"(?<![\w-])(--(?:[a-z]{{1,20}}-){{0,3}}(?:password|passwd|secret|token|api-key)\s{{1,4}})"
        rf"(?!-|(?-i:[A-Z_]{{1,64}}\b)){_VALUE}",
        _HIDDEN,
    ),
    _rule("code=", r"([?&]code=)[\w%+/=-]{20,}", r"\1***"),
    _rule(  # user:password@host without a scheme
        "@",
        rf"(?<![\w.+/@%-])(?!(?:{_LABELS}):)[\w.+-]{{1,64}}:(?!\d+@)[^\s:@/\"'<>,;()]{{3,128}}@"
        r"(?=(?:[\w-]{1,63}\.){1,8}[a-z]{2,24}\b|\d{1,3}(?:\.\d{1,3}){3}\b|localhost\b|[\w.-]{1,128}:\d{2,5}\b(?!:))",
        "***@",
    ),
)

SECRET_NAME = re.compile(
    r"(?:^|_)(?:TOKEN|SECRET|(?:PG)?PASSWORD|PASSWD|PASS|PASSPHRASE|PASSCODE|CREDENTIALS?"
    r"|(?:API|ACCESS|PRIVATE|SECRET|ACCOUNT|SIGNING)_?KEY"
    r"|APIKEY|AUTH_STRING|AUTH|WEBHOOK|(?<=_)(?:KEY|PWD))(?:_URL|_VALUE|_\d+)?$",
    re.IGNORECASE,
)


def secrets_of(environment: Mapping[str, str] = os.environ) -> frozenset[str]:
    """The values of variables named like credentials, and the passwords of URLs in any variable, in each form they may take."""
    found = set(_given)
    for name, value in environment.items():
        if is_secret_name(name):
            found.update(_forms(value))
        elif "@" in value and "://" in value:
            found.update(_forms_of_url(value))
    return frozenset(found)


def keep_secret(value: str) -> str:
    """From here on, hide a value that a recipe names by its variable, whatever the variable is called."""
    _given.update(_forms(value))
    return value


_given: set[str] = set()


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether a variable or key of that name holds a credential; names of files that hold one do not."""
    return SECRET_NAME.search(name) is not None


@lru_cache(maxsize=256)
def _forms(value: str) -> frozenset[str]:
    """A value as it is, percent-encoded, within JSON, and, of ``user:password``, as HTTP's basic authentication has it."""
    if len(value) < SHORTEST or _is_ordinary(value):
        return frozenset()
    forms = {value, unquote(value), quote(value, safe=""), quote(value), json.dumps(value)[1:-1]}
    user, colon, password = value.partition(":")
    if colon and "://" not in value and not any(character.isspace() for character in user):
        forms |= {base64.b64encode(value.encode()).decode(), *(_forms(password))}
    return frozenset({*forms, *_forms_of_url(value)})


def _is_ordinary(value: str) -> bool:
    """A number, a word, a special token or a file's path: to hide these wherever they stand would hide more than a secret."""
    word = len(value) < SHORT and value.isalpha() and value.islower()
    return value.isdigit() or word or value.startswith("<") or (os.path.isabs(value) and os.path.exists(value))


@lru_cache(maxsize=256)
def _forms_of_url(url: str) -> frozenset[str]:
    try:
        found = urlsplit(url)
        user, password = found.username or "", found.password or ""
    except ValueError:
        return frozenset()
    pair = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
    return frozenset({*_forms(password), *_forms(unquote(password)), pair}) if len(password) >= SHORTEST else frozenset()


@lru_cache(maxsize=16)
def pattern_of(secrets: frozenset[str]) -> re.Pattern[str] | None:
    """Finds any of them, the longest first."""
    ordered = sorted(secrets, key=lambda secret: (-len(secret), secret))
    return re.compile("|".join(map(_bounded, ordered))) if ordered else None


def _bounded(secret: str) -> str:
    if len(secret) >= SHORT:
        return re.escape(secret)
    return rf"(?:(?<![A-Za-z0-9])|(?<=%[0-9A-Fa-f]{{2}})){re.escape(secret)}(?![A-Za-z0-9])"


def hidden(text: str, rules: Iterable[Rule]) -> str:
    """A text after the rules."""
    lower = text.lower()
    for rule in rules:
        if any(needle in lower for needle in rule.needles):
            text = re.sub(rule.pattern, rule.replacement, text)
    return text


def hides(name: str, value: str) -> bool:
    """Whether a value is a credential because of its name; the name of a variable, or a reference to one, is none."""
    return is_secret_name(name) and re.match(rf"(?i){_REFERENCE}.", value) is not None


def is_credential(text: str) -> bool:
    """Whether a text has a credential, by its place or form."""
    return hidden(text, CERTAIN) != text
