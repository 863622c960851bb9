"""Numbers as people read them: ``1,234``, ``2:05:09``, ``$0.42``."""

from __future__ import annotations

from rowmill.counted import plural as plural


def count(number: int) -> str:
    """An integer with thousands separators."""
    return f"{number:,}"


def short_count(number: float) -> str:
    """Three significant figures with k, M, G or T from 10,000 on: ``12.3k``."""
    if number < 10_000:
        return f"{number:,.0f}"
    for size, suffix in ((1e3, "k"), (1e6, "M"), (1e9, "G")):
        if number < 999.5 * size:
            return f"{number / size:.3g}{suffix}"
    return f"{number / 1e12:.3g}T"


def rate(per_second: float) -> str:
    """A rate without its unit: one decimal below ten."""
    return f"{per_second:.1f}" if per_second < 10 else short_count(per_second)


def share(part: int, whole: int) -> str:
    """``37 %``; never 100 % before all is there."""
    if whole <= 0 or part >= whole:
        return "100 %"
    return f"{min(int(100 * part / whole), 99)} %"


def duration(seconds: float) -> str:
    """``0:07``, ``12:30``, ``5:00:00`` or ``3 d 04:00``."""
    whole = max(round(seconds), 0)
    days, rest = divmod(whole, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, rest = divmod(rest, 60)
    if days:
        return f"{days} d {hours:02d}:{minutes:02d}"
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def short_duration(seconds: float) -> str:
    """``0.12 ms``, ``350 ms``, ``12.3 s``, or :func:`duration` from two minutes on."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 120 else duration(seconds)


def money(dollars: float) -> str:
    """US dollars; small amounts keep two significant figures."""
    return f"${dollars:,.2f}" if dollars >= 0.1 or dollars == 0 else f"${dollars:.2g}"
