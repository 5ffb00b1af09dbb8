"""A trained run on films and reports that somebody brings: cases, choice, scales, distance, judge."""
