"""Stages and times in words."""

from ratchet.components.stages.stage import Stage

TITLES: dict[str, str] = {
    Stage.DATA: "dataset",
    Stage.GOLD: "gold, validated",
    Stage.WARMUP: "starting policy",
    Stage.REWARD: "reward, validated",
    Stage.TRAIN: "RL training",
    Stage.EVALUATE: "evaluation",
    Stage.GATE: "gate",
}


def title_of(stage: str) -> str:
    """A stage in words."""
    return TITLES.get(stage, stage)


def duration(seconds: float) -> str:
    """``52 s``, ``4 min 31 s`` or ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, left = divmod(whole, 60)
    return f"{minutes} min {left:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
