"""Assert the JSON of a second quickstart run: unchanged, every stage cached, one promotion behind it."""

import json
import sys
from pathlib import Path

result = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
stages = {stage["name"]: stage for stage in result["stages"]}
problems = [
    message
    for message, wrong in {
        f"status is {result['status']}, not unchanged": result["status"] != "unchanged",
        f"verdict is {result['verdict']}, not PROMOTE": result["verdict"] != "PROMOTE",
        f"version is {result['version']}, not 1": result["version"] != "1",
        "there is no report": not (result["report"] and Path(result["report"]).is_file()),
        f"stages are {sorted(stages)}": set(stages) != {"data", "gold", "warmup", "reward", "train"},
        "a stage did work again": not all(stage["cached"] for stage in stages.values()),
    }.items()
    if wrong
]
print("quickstart:", "; ".join(problems) or "promoted, then unchanged, with every stage cached")
sys.exit(bool(problems))
