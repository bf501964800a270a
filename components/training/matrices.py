"""The matrices of a dense decoder one by one, by the number of their values."""

from ratchet.components.policy.configuration import ModelShape


def layer_matrices(shape: ModelShape) -> list[tuple[int, int]]:
    """Inputs and outputs of the seven linear layers of a decoder layer."""
    h, q, g, f = shape.width, shape.query, shape.key_value, shape.feed_forward
    return [(h, q), (h, g), (h, g), (q, h), (h, f), (h, f), (f, h)]


def trunk_matrices(shape: ModelShape) -> list[int]:
    """Values of the embeddings and of each linear layer; the rest is norms and biases."""
    layer = [inputs * outputs for inputs, outputs in layer_matrices(shape)]
    return [shape.vocabulary * shape.width, *layer * shape.layers]


def matrices(shape: ModelShape) -> list[int]:
    """The same with the head, if it is not tied to the embeddings."""
    return trunk_matrices(shape) + [shape.head_parameters] * bool(shape.head_parameters)


def lora_matrices(shape: ModelShape, rank: int) -> list[int]:
    """Values of the two matrices per linear layer except the head: rank x inputs and rank x outputs."""
    return [rank * side for sides in layer_matrices(shape) for side in sides] * shape.layers


def lora_parameters(shape: ModelShape, rank: int) -> int:
    """All values of the adapter."""
    return sum(lora_matrices(shape, rank))
