"""Where things are in a checkout."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "recipes"
MICRO = ROOT / "tests" / "recipes" / "micro.yaml"
GSM8K = ROOT.parent / "shared" / "data" / "gsm8k"
