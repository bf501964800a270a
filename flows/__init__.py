"""The only importer of Prefect. Prefect's own temporary server is disabled first, because it obeys any web page."""

import os

if __name__ != "ratchet.flows":
    raise ImportError("the package is ratchet.flows; under another name its modules would be loaded twice. Import that.")

os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_ENABLED", "false")
