"""Reporting checklists of a paper, filled from a run and what it came from."""

from cxremb.checklists.fill import KINDS, WORDING, Checklist, ChecklistRow, checklist_table, fill_checklist

__all__ = ["KINDS", "WORDING", "Checklist", "ChecklistRow", "checklist_table", "fill_checklist"]
