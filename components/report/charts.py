"""Bars as inline SVG: no scripts, no external styles, only numbers and escaped labels."""

from collections.abc import Sequence

from markupsafe import Markup

WIDTH, HEIGHT, FOOT = 420, 110, 16


def histogram(edges: Sequence[int], counts: Sequence[int], name: str) -> Markup:
    """A histogram; ``edges`` has one number more than ``counts``."""
    most, span = max(counts, default=1) or 1, max(edges[-1] - edges[0], 1)
    bars = Markup()
    for left, right, count in zip(edges, edges[1:], counts, strict=False):
        height, width = (HEIGHT - FOOT) * count / most, max(WIDTH * (right - left) / span - 1, 0.5)
        bars += Markup('<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
            WIDTH * (left - edges[0]) / span, HEIGHT - FOOT - height, width, height
        )
    foot = Markup('<text x="0" y="{0}">{1}</text><text x="{2}" y="{0}" text-anchor="end">{3}</text>').format(
        HEIGHT - 3, edges[0], WIDTH, edges[-1] - 1
    )
    return _figure(bars + foot, HEIGHT, name)


def bars(rows: Sequence[tuple[str, int]], name: str) -> Markup:
    """Horizontal bars with their labels and numbers."""
    most, step = max((count for _, count in rows), default=1) or 1, 18
    drawn = Markup()
    for place, (label, count) in enumerate(rows):
        y, width = place * step, (WIDTH - 190) * count / most
        drawn += Markup(
            '<text x="120" y="{0}" text-anchor="end">{1}</text><rect class="bar" x="126" y="{2}" width="{3:.1f}" height="12"/>'
            '<text x="{4:.1f}" y="{0}">{5}</text>'
        ).format(y + 12, label, y + 2, width, 132 + width, f"{count:,}")
    return _figure(drawn, max(len(rows) * step, step), name)


def _figure(content: Markup, height: int, name: str) -> Markup:
    return Markup('<svg role="img" aria-label="{}" viewBox="0 0 {} {}" font-size="11">{}</svg>').format(
        name, WIDTH, height, content
    )
