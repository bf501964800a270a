"""The one import package: ``ratchet.flows`` and ``ratchet.components`` are the top-level directories of these names."""

import logging

for _name in (
    "torchao",
    "torch.utils._pytree",
):  # where torchao is installed, transformers imports it, and it warns of what is not used here
    logging.getLogger(_name).setLevel(logging.ERROR)
