"""The only importer of Prefect, whose own temporary server is switched off before that: it obeys any web page."""

import os

os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_ENABLED", "false")
