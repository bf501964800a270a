"""``ratchet report``: the page over all runs, and where the reports are."""

from ratchet.flows.cli.options import JsonOption
from ratchet.flows.cli.output import as_json
from ratchet.flows.cli.supervision import emit


def report(json_output: JsonOption = False) -> None:
    """Write the page over all runs again, and print where it and the newest report are. Open them in a browser.

    Example: ratchet report
    """
    from ratchet.components.ledger.ledger import Ledger
    from ratchet.components.run.all_runs import newest_report, write_all_runs
    from ratchet.components.storage.home import Home

    home = Home.here()
    ledger = Ledger.to_read(home.ledger)
    begun = bool(ledger.latest_runs(1))  # else nothing is written: this may not be a project
    found = {"all_runs": str(write_all_runs(home, ledger)) if begun else None, "newest": newest_report(home, ledger)}
    if json_output:
        emit(as_json(found))
        return
    print(f"all runs  {found['all_runs'] or 'there is no run yet; `ratchet run` starts one'}")
    print(f"newest    {found['newest'] or 'no run has a report yet'}")
