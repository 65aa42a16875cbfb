"""What the stack has spent this month, what it will, and what is to be closed in time.

Pure but for documents.py: functions, the simulated month and the program share it. USD inside,
because AWS bills in it; EUR where a person reads.
"""
