"""A rank runs the code of the run, or nothing."""

import pytest

from ratchet.components.code.source_code import ROOT, sources_digest
from ratchet.components.errors import RankError
from ratchet.components.run.rank import check_code
from ratchet.components.stages.launched import CODE


def test_a_rank_that_imports_other_code_than_the_run_ends_and_names_its_place() -> None:
    check_code({CODE: sources_digest()})
    for order in ({CODE: "0" * 64}, {}):
        with pytest.raises(RankError, match=rf"import Ratchet from {ROOT}, .* not that of the run\. Install"):
            check_code(order)
