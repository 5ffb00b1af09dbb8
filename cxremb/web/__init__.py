"""What every page and service of cxremb has around it: who may ask (`guard`), and how it listens (`server`)."""
