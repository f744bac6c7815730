"""The audit as one HTML file: no script, nothing from elsewhere, plots as SVG."""

from collections.abc import Callable, Sequence
from html import escape

from pipeline.audit.attacks import Finding
from pipeline.audit.result import Point

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --paper: #fff; --faint: #667085; --line: #d9dee7;
  --held: #12805c; --broken: #c4320a; --bar: #3b6fd4; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ef; --paper: #14171d; --faint: #98a2b3; --line: #333a47;
    --held: #3ccb95; --broken: #ff8a5c; --bar: #7ea6ff; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin: 0; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; margin: 1.5rem 0; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem; border-bottom: 1px solid var(--line); }
td:last-child { white-space: nowrap; } a { color: inherit; }
section { border-top: 1px solid var(--line); padding: 1rem 0; }
dl { display: grid; grid-template-columns: 6rem 1fr; gap: .2rem .8rem; margin: .5rem 0; font-size: .95rem; }
dt { color: var(--faint); } dd { margin: 0; }
.held { color: var(--held); font-weight: 600; } .broken { color: var(--broken); font-weight: 600; }
.note { color: var(--faint); font-size: .9rem; } figure { margin: .5rem 0; overflow-x: auto; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); } svg .faint { fill: var(--faint); }
svg .interval { stroke: var(--bar); stroke-width: 2; } svg circle { fill: var(--bar); }
svg .bound { stroke: var(--broken); stroke-width: 2; stroke-dasharray: 3 2; }
svg .axis { stroke: var(--line); }
"""
_ROW_PX, _LABEL_PX, _WIDTH_PX, _MARGIN_PX = 20, 190, 760, 70


def render(findings: Sequence[Finding], title: str, effort: str) -> str:
    """The whole page."""
    failed = [finding for finding in findings if finding.result.verdict != "held"]
    verdict = (
        f"{len(failed)} of {len(findings)} attacks need a look"
        if failed
        else "every attack failed, as it must"
    )
    rows = "".join(_row(finding) for finding in findings)
    sections = "".join(_section(finding) for finding in findings)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f'<h1>{escape(title)}</h1><p class="{"broken" if failed else "held"}">{verdict}</p>'
        f'<p class="note">{escape(effort)} Synthetic visitors only; no record of a real one was '
        "read. A measurement is above its bound where its whole interval is; the share of intervals that "
        "hold the truth must not be below its. Each control is the same attack where it must work. An audit "
        "can refute the guarantee; what proves it is the bound.</p>"
        f"<table><thead><tr><th>Attack<th>Tried<th>Bound<th>Verdict</tr></thead><tbody>{rows}</tbody></table>"
        f"{sections}</body></html>\n"
    )


def _verdict(finding: Finding) -> str:
    verdict = finding.result.verdict
    return f'<span class="{"held" if verdict == "held" else "broken"}">{verdict}</span>'


def _row(finding: Finding) -> str:
    attack = finding.attack
    return (
        f'<tr><td><a href="#{attack.key}">{escape(attack.title)}</a><td>{escape(attack.tries)}'
        f"<td>{escape(attack.bound)}<td>{_verdict(finding)}</tr>"
    )


def _section(finding: Finding) -> str:
    attack, result = finding.attack, finding.result
    facts = (
        ("Tried", attack.tries),
        ("Bound", attack.bound),
        ("Measured", result.measured),
        ("Control", result.control),
    )
    listed = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in facts)
    return (
        f'<section id="{attack.key}"><h2>{escape(attack.title)}: {_verdict(finding)}</h2><dl>{listed}</dl>'
        f"{_plot(result.points)}</section>"
    )


def _plot(points: Sequence[Point]) -> str:
    """One line per measurement: its interval, and a mark where its bound is."""
    if not points:
        return ""
    low = min(min(point.low, point.value, point.bound) for point in points)
    high = max(max(point.high, point.value, point.bound) for point in points)
    span = (high - low) or 1.0

    def x(value: float) -> float:
        return _LABEL_PX + (_WIDTH_PX - _LABEL_PX - _MARGIN_PX) * (value - low) / span

    height = _ROW_PX * (len(points) + 1) + 4
    lines = "".join(_line(point, (n + 0.5) * _ROW_PX, x) for n, point in enumerate(points))
    base = height - _ROW_PX
    axis = (
        f'<line class="axis" x1="{_LABEL_PX}" x2="{x(high):.1f}" y1="{base}" y2="{base}"/>'
        f'<text class="faint" x="{_LABEL_PX}" y="{base + 15}">{low:.3g}</text>'
        f'<text class="faint" x="{x(high):.1f}" y="{base + 15}" text-anchor="end">{high:.3g}</text>'
    )
    return (
        f'<figure><svg width="{_WIDTH_PX}" height="{height}" viewBox="0 0 {_WIDTH_PX} {height}" role="img" '
        f'aria-label="Measured values with intervals, bounds dashed">{lines}{axis}</svg></figure>'
    )


def _line(point: Point, y: float, x: Callable[[float], float]) -> str:
    bound, value = x(point.bound), x(point.value)
    ends = sorted((point.low, point.high))
    return (
        f'<text x="{_LABEL_PX - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(point.name)}</text>'
        f'<line class="interval" x1="{x(ends[0]):.1f}" x2="{x(ends[1]):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<circle cx="{value:.1f}" cy="{y:.1f}" r="3.5"/>'
        f'<line class="bound" x1="{bound:.1f}" x2="{bound:.1f}" y1="{y - 8:.1f}" y2="{y + 8:.1f}"/>'
        f'<text class="faint" x="{_WIDTH_PX - _MARGIN_PX + 8}" y="{y + 4:.1f}">{point.value:.3g}</text>'
    )
