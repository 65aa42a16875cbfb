"""Measurements: every figure that the README or a note claims comes from here, as ratios within one
run.
"""
