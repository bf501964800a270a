"""The environment of a user's function: what programs need to run, and what the recipe names; no credentials."""

import os
import re
from collections.abc import Iterable, Mapping

NEEDED = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|TMP|TEMP|XDG_\w+|VIRTUAL_ENV|CONDA_PREFIX"
    r"|PYTHON\w+|LD_LIBRARY_PATH|DYLD_\w+|CUDA_\w+|NVIDIA_\w+|OMP_\w+|MKL_\w+|OPENBLAS_\w+|NUMEXPR_\w+|TORCH_\w+"
    r"|HF_\w+|TRANSFORMERS_\w+|TOKENIZERS_PARALLELISM|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
    r"|(?:https?|all|no)_proxy|(?:HTTPS?|ALL|NO)_PROXY"
)
CREDENTIAL = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|_KEY|AUTH", re.IGNORECASE)
USER_INFORMATION = re.compile(r"//[^/\s]*@")  # of a proxy's URL


def user_environment(named: Iterable[str] = (), environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that a user's function sees: the needed ones that hold no credential, and those named.

    Text is hashed with a fixed seed, so that the order of a set is the same in every process.
    """
    passed = {name: value for name, value in environment.items() if name in named or _harmless(name, value)}
    return {"PYTHONHASHSEED": "0", **passed, "PYTHONUNBUFFERED": "1"}


def _harmless(name: str, value: str) -> bool:
    return NEEDED.fullmatch(name) is not None and not CREDENTIAL.search(name) and not USER_INFORMATION.search(value)
