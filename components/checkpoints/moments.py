"""AdamW's moments as tensors that a safetensors file can hold: one each, or the parts of one that torchao keeps in 8 bits."""

from collections.abc import Mapping

from torch import Tensor

PARTS = ("codes", "scale", "qmap")  # a byte per value, fp32 per block of values, and the 256 values that bytes stand for


def taken_apart(name: str, moment: Tensor) -> dict[str, Tensor]:
    """The moment under its name, or its parts under ``<name>.codes`` and so on."""
    if not hasattr(moment, "codes"):
        return {name: moment}
    return {f"{name}.{part}": getattr(moment, part) for part in PARTS}


def put_together(name: str, tensors: Mapping[str, Tensor]) -> Tensor:
    """The moment that :func:`taken_apart` has saved; one in 8 bits appears to be fp32."""
    if name in tensors:
        return tensors[name]
    from torchao.optim.subclass_8bit import OptimState8bit

    codes, scale, qmap = (tensors[f"{name}.{part}"] for part in PARTS)
    signed = bool(qmap[0] < 0)  # the values are in order
    moment: Tensor = OptimState8bit(codes, scale, qmap, signed, dtype=scale.dtype)
    return moment
