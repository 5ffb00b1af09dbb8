"""`cxremb doctor`: what works on this machine, and what to do about the rest."""

from cxremb.cli.options import DEFAULT_ROOT, Root
from cxremb.cli.output import AsFormat, Format, write
from cxremb.cli.pasted import completed
from cxremb.cli.screen import say


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
        mark, style = ("ok  ", "") if finding.ok else ("no  ", "yellow")
        say(f"{mark} {finding.what:<22} {finding.found}", style, below=28)
        if finding.remedy:
            say(f"{'':28}-> {completed(finding.remedy)}", "dim", below=31)
