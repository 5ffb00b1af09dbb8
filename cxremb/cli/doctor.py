"""`cxremb doctor`: what works on this machine, and what to do about the rest."""

from cxremb.cli.options import DEFAULT_ROOT, AsJson, Root
from cxremb.cli.progress import console


def doctor(root: Root = DEFAULT_ROOT, as_json: AsJson = False) -> None:
    """Check versions, devices, precision, weights and the store root.

    Example: cxremb doctor
    """
    from cxremb.doctor import examine

    findings = examine(root)
    if as_json:
        console.print_json(data=[vars(finding) for finding in findings])
        return
    for finding in findings:
        mark = "[green]ok  [/]" if finding.ok else "[yellow]no  [/]"
        console.print(f"{mark} [bold]{finding.what:<22}[/]", end=" ")
        console.print(finding.found, markup=False, highlight=False, soft_wrap=True)
        if finding.remedy:
            console.print(f"{'':28}-> ", end="")
            console.print(finding.remedy, markup=False, highlight=False, style="dim", soft_wrap=True)
