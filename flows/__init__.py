"""The only importer of Prefect. First, its temporary server, which obeys any web page, is disabled, and logs are redacted."""

import os

if __name__ != "ratchet.flows":
    raise ImportError("the package is ratchet.flows; under another name its modules would be loaded twice. Import that.")

os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_ENABLED", "false")

from ratchet.flows.redaction import install

install()
