"""`cxremb doctor`: what works on this machine, and what to do about the rest."""

from cxremb.cli.options import DEFAULT_ROOT, Root
from cxremb.cli.output import AsFormat, Format, write
from cxremb.cli.progress import console


def doctor(root: Root = DEFAULT_ROOT, fmt: AsFormat = Format.table) -> None:
    """Check versions, devices, precision, weights and the store root.

    Example: cxremb doctor
    """
    from cxremb.doctor import examine

    findings = examine(root)
    if fmt is not Format.table:
        write([vars(finding) for finding in findings], fmt)
        return
    for finding in findings:
        mark = "[green]ok  [/]" if finding.ok else "[yellow]no  [/]"
        console.print(f"{mark} [bold]{finding.what:<22}[/]", end=" ")
        console.print(finding.found, markup=False, highlight=False, soft_wrap=True)
        if finding.remedy:
            console.print(f"{'':28}-> ", end="")
            console.print(finding.remedy, markup=False, highlight=False, style="dim", soft_wrap=True)
