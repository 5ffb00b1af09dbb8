"""A run that others ask over HTTP, read downward: study, batches, limits, metrics, answers, app.

It judges as `cxremb predict` does, and keeps nothing of what it is sent.
"""
