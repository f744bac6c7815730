"""From private events to published statistics.

ingest → visits → release [ledger → bound → count → noise] → publish → query
"""
